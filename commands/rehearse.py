"""Run Weighbridge on one machine, for a rehearsal."""

import os
import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".rehearsal"),
    show_default=True,
    help="Folder for all files of the rehearsal; those of an earlier one are deleted.",
)
@click.option(
    "--finetune", is_flag=True, help="Train the three adapters instead of using the included ones."
)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The GPU worker's run_dir; an engine that is running there is used. Default: a new one.",
)
def rehearse(folder: Path, finetune: bool, run_dir: Path | None) -> None:
    """Run everything on this machine, with a local W&B and small real models."""
    from rehearsal.run import rehearse as run

    broker_url = os.environ.get("CELERY_BROKER_URL")
    if not run(folder, finetune=finetune, broker_url=broker_url, run_dir=run_dir):
        sys.exit(1)


@click.command(
    "local-wandb", context_settings={"ignore_unknown_options": True}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def local_wandb(arguments: tuple[str, ...]) -> None:
    """Serve a local W&B for the real wandb and weave SDKs."""
    from local_wandb.command import local_wandb as serve

    serve.main(list(arguments), prog_name="weighbridge local-wandb")
