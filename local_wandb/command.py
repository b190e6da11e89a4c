"""The command line: ``python -m local_wandb``."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click
from pydantic import HttpUrl, SecretStr, ValidationError

from local_wandb.config import ENTITY, ORGANISATION, PROJECT, LocalWandbConfig, Webhook
from local_wandb.running import last_port
from local_wandb.server import serve


@click.command(name="local-wandb")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".local-wandb"),
    show_default=True,
    help="Folder for all data of the server.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    show_default="the last port of the data folder, so that its links stay valid",
    help="Port to listen on; 0 chooses a free one.",
)
@click.option("--allow-remote", is_flag=True, help="Allow a --host that other machines can reach.")
@click.option("--entity", default=ENTITY, show_default=True, help="Name of the team.")
@click.option("--org", default=ORGANISATION, show_default=True, help="Name of the organisation.")
@click.option("--project", default=PROJECT, show_default=True, help="Default project of clients.")
@click.option("--webhook-url", help="Receives a POST for every linked version.")
@click.option("--webhook-registry", help="Report only this registry, wandb-registry-NAME.")
@click.option(
    "--webhook-name",
    default=Webhook.model_fields["name"].default,
    show_default=True,
    help="Name of the webhook integration, for automations.",
)
@click.option(
    "--webhook-automation/--no-webhook-automation",
    default=True,
    help="Report every linked version, or send only what clients' automations fire.",
)
@click.option("--webhook-token", envvar="LOCAL_WANDB_WEBHOOK_TOKEN", help="Bearer token.")
@click.option("--webhook-secret", envvar="LOCAL_WANDB_WEBHOOK_SECRET", help="Signs deliveries.")
@click.option(
    "--drop-delivery",
    type=click.IntRange(min=1),
    multiple=True,
    help="Number of a delivery to drop on purpose, as W&B may; repeatable.",
)
@click.option(
    "--double-delivery",
    type=click.IntRange(min=1),
    multiple=True,
    help="Number of a delivery to send twice on purpose; repeatable.",
)
@click.option("--api-key", envvar="WANDB_API_KEY", help="Without it, one is created and saved.")
@click.option("--end-with-parent", is_flag=True, hidden=True)
def local_wandb(
    api_key: str | None,
    webhook_url: str | None,
    webhook_registry: str | None,
    webhook_name: str,
    webhook_automation: bool,
    webhook_token: str | None,
    webhook_secret: str | None,
    drop_delivery: tuple[int, ...],
    double_delivery: tuple[int, ...],
    end_with_parent: bool,
    data_dir: Path,
    port: int | None,
    **settings: Any,
) -> None:
    """Serve a W&B for the real wandb and weave SDKs on this machine.

    The API key comes from WANDB_API_KEY, and the webhook's secrets from LOCAL_WANDB_WEBHOOK_TOKEN
    and LOCAL_WANDB_WEBHOOK_SECRET, because every user of the machine can read the command line of a
    process.
    """
    try:
        webhook = webhook_url and Webhook(
            url=HttpUrl(webhook_url),
            name=webhook_name,
            registry=webhook_registry,
            automation=webhook_automation,
            token=SecretStr(webhook_token) if webhook_token else None,
            secret=SecretStr(webhook_secret) if webhook_secret else None,
            drop_deliveries=frozenset(drop_delivery),
            double_deliveries=frozenset(double_delivery),
        )
        config = LocalWandbConfig(
            data_dir=data_dir,
            port=last_port(data_dir) if port is None else port,
            **settings,
            api_key=SecretStr(api_key) if api_key else None,
            webhook=webhook or None,
        )
    except ValidationError as error:
        raise click.UsageError("; ".join(item["msg"] for item in error.errors())) from None
    if end_with_parent:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    serve(config)


def _exit_with_parent() -> None:
    """Stop when the other end of stdin closes, because the parent process has ended."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
