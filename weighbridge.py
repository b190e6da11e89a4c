"""The front door: the command line, and the few names that a script imports."""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import redis
import structlog
from pydantic import ValidationError

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE, celery_app
from bus.connection import connect
from bus.ledger import Ledger
from schemas.errors import ConfigurationError, WeighbridgeError
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.settings import Settings, read_gates
from schemas.verdicts import Outcome
from schemas.weighings import Weighing

__all__ = ["ArtifactRef", "Settings", "WeighbridgeError", "WeighingId", "main"]


class _Group(click.Group):
    """Prints what Weighbridge raises on purpose as one sentence, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WeighbridgeError as error:
            raise click.ClickException(str(error)) from error
        except redis.RedisError as error:
            raise click.ClickException(
                f"Redis does not answer: {error} Start it or set CELERY_BROKER_URL."
            ) from error
        except ValidationError as error:
            faults = "; ".join(f"{f['loc'][0]}: {f['msg']}" for f in error.errors())
            raise click.ClickException(f"A setting is wrong: {faults}.") from error
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"'{ctx.invoked_subcommand}' needs the package {error.name}, which the base install"
                " leaves out. Install weighbridge[worker,cpu] or [worker,gpu]; a rehearsal needs"
                " [rehearsal] too."
            ) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weighbridge")
def main() -> None:
    """Weigh every new model version before it may pass."""
    _log_to_stderr()


def _log_to_stderr() -> None:
    """One line of logfmt per event, on standard error; standard output is for results."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script.")
_awaiting_gate_option = click.option(
    "--gate", help="Which one, where the version awaits approval under several."
)


def _ledger(settings: Settings) -> Ledger:
    return Ledger(connect(settings.broker_url), settings.lease)


@main.command()
@click.argument("ref")
@click.option("--gate", help="Weigh under this gate only, whatever it watches.")
@click.option("--force", is_flag=True, help="Weigh again although there is a verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; exit 1 unless promoted.")
@_json_option
def enqueue(ref: str, gate: str | None, force: bool, wait: bool, as_json: bool) -> None:
    """Put the version REF (entity/project/collection:version) on the bus by hand."""
    from producers.enqueue import enqueue as put
    from producers.enqueue import wait_for

    settings = Settings()
    enqueued = put(celery_app(settings), settings, ref, gate=gate, force=force)
    if not wait:
        _print_ids(enqueued.weighings, as_json)
        return
    _conclude(wait_for(_ledger(settings), enqueued, _tell), "promoted", as_json)


@main.command()
@click.argument("ref")
@_awaiting_gate_option
@click.option("--why", default="", help="Recorded with the verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; exit 1 unless promoted.")
@_json_option
def approve(ref: str, gate: str | None, why: str, wait: bool, as_json: bool) -> None:
    """Have the version REF promoted, which awaits approval.

    It is recorded with the W&B user that WANDB_API_KEY belongs to; a name that anybody could type
    would prove nothing.
    """
    _decide(ref, gate, why, approved=True, wait=wait, as_json=as_json)


@main.command()
@click.argument("ref")
@_awaiting_gate_option
@click.option("--why", required=True, help="Recorded with the verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; exit 1 unless rejected.")
@_json_option
def reject(ref: str, gate: str | None, why: str, wait: bool, as_json: bool) -> None:
    """Have the version REF rejected, which awaits approval.

    It is recorded with the W&B user that WANDB_API_KEY belongs to.
    """
    _decide(ref, gate, why, approved=False, wait=wait, as_json=as_json)


def _decide(
    ref: str, gate: str | None, why: str, *, approved: bool, wait: bool, as_json: bool
) -> None:
    from producers.decide import decide
    from producers.enqueue import wait_for_one

    settings = Settings()
    ledger, app, by = _ledger(settings), celery_app(settings), _user(settings)
    decided = decide(app, ledger, settings, ref, gate=gate, approved=approved, by=by, why=why)
    if not wait:
        _print_ids(decided, as_json)
        return
    wanted: Outcome = "promoted" if approved else "rejected"
    _conclude([wait_for_one(ledger, one, _tell) for one in decided], wanted, as_json)


def _user(settings: Settings) -> str:
    from registry.calls import wandb_api, wandb_call

    api = wandb_api(settings.wandb_timeout)
    with wandb_call("tell whose API key this is"):
        username = api.viewer.username
    if not username:
        raise ConfigurationError(
            "WANDB_API_KEY belongs to no user, so nobody would have decided.",
            fix="Use a person's key.",
        )
    return str(username)


@main.command()
@click.argument("gate")
@click.option(
    "--to",
    metavar="VERSION",
    help="In the target collection, as v3; else the champion that the latest promotion displaced.",
)
@click.option("--why", default="", help="Recorded with the rollback.")
@_json_option
def rollback(gate: str, to: str | None, why: str, as_json: bool) -> None:
    """Move the aliases of GATE back to the champion before.

    It is recorded with the W&B user that WANDB_API_KEY belongs to. Done twice, it changes nothing
    more.
    """
    from producers.rollback import rollback as roll_back

    settings = Settings()
    done = roll_back(_ledger(settings), settings, gate, to=to, by=_user(settings), why=why)
    if as_json:
        click.echo(done.model_dump_json())
        return
    for alias, loser in done.moved.items():
        click.echo(f"{alias} moved from {loser or 'nobody'} to {done.to}")
    if not done.moved:
        click.echo(f"already rolled back to {done.to}")


@main.command()
@click.option("--from", "call", metavar="CALL", required=True, help="Id of the evaluation's call.")
@click.option("--gate", required=True, help="The gate to weigh it by, as it is now.")
@_json_option
def weigh(call: str, gate: str, as_json: bool) -> None:
    """Weigh a stored evaluation again, without running a model; nothing is written.

    Exits with 1 when a check is not what the stored verdict says.
    """
    from worker.recording import weave_client
    from worker.reweigh import reweigh

    rule = Settings().gates.named(gate)
    again = reweigh(weave_client(rule), call, rule)
    if as_json:
        click.echo(again.model_dump_json())
    else:
        click.echo(f"stored  {again.stored.outcome:17} {again.stored.reason}")
        click.echo(f"again   {again.outcome:17} {again.reason}")
        for difference in again.differing:
            click.echo(f"differs {difference}")
    if again.differing:
        sys.exit(1)


@main.command()
@click.option("--once", is_flag=True, help="Look once and exit.")
def poll(once: bool) -> None:
    """Compare the Registry with the ledger, and publish what is missing."""
    from producers.poller import poll as poll_forever
    from producers.poller import poll_once
    from registry.calls import wandb_api

    settings = Settings()
    app = celery_app(settings)
    if once:
        api = wandb_api(settings.wandb_timeout)
        for weighing in poll_once(app, _ledger(settings), api, settings.gates):
            click.echo(str(weighing))
        return
    with _until_signalled() as stop:
        poll_forever(app, connect(settings.broker_url), _ledger(settings), settings, stop)


@main.command()
def webhook() -> None:
    """Receive W&B's automation webhooks."""
    import uvicorn

    from producers.webhook import Credentials, webhook_app

    settings = Settings()
    app = webhook_app(celery_app(settings), Credentials.of(settings))
    uvicorn.run(app, host=settings.webhook_host, port=settings.webhook_port, log_level="warning")


@main.command()
@click.option(
    "--queues",
    default=f"{EVENTS_QUEUE},{GPU_QUEUE}",
    show_default=True,
    help="Which queues to serve: a machine without a GPU serves events only.",
)
def worker(queues: str) -> None:
    """Serve the bus: dispatch events, weigh versions, sweep up after dead workers."""
    from worker.main import run_worker

    served = [queue.strip() for queue in queues.split(",")]
    if unknown := set(served) - {EVENTS_QUEUE, GPU_QUEUE}:
        raise ConfigurationError(
            f"There is no queue {', '.join(sorted(unknown))}.",
            fix=f"The queues are {EVENTS_QUEUE} and {GPU_QUEUE}.",
        )
    run_worker(served)


@main.command()
@click.argument("ref", required=False)
@_json_option
def status(ref: str | None, as_json: bool) -> None:
    """Show every weighing, or those of the version REF."""
    ledger = _ledger(Settings())
    records = list(ledger.all())
    if ref is not None:
        wanted = ArtifactRef.parse(ref)
        records = [record for record in records if record.id.version == wanted]
        if not records:
            raise ConfigurationError(
                f"{wanted} was never weighed.", fix="Give its number, or enqueue it."
            )
    _print_weighings(records, as_json)


@main.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".rehearsal"),
    show_default=True,
    help="Holds everything that the rehearsal leaves; what an earlier one left is removed.",
)
@click.option("--finetune", is_flag=True, help="Train the three adapters now.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of the GPU worker: an engine that runs there already is used. Default: a new one.",
)
def rehearse(folder: Path, finetune: bool, run_dir: Path | None) -> None:
    """Run the whole story on this machine, with a local W&B and small real models."""
    from rehearsal.run import rehearse as run

    broker_url = os.environ.get("CELERY_BROKER_URL")
    if not run(folder, finetune=finetune, broker_url=broker_url, run_dir=run_dir):
        sys.exit(1)


@main.command(
    "local-wandb", context_settings={"ignore_unknown_options": True}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def local_wandb(arguments: tuple[str, ...]) -> None:
    """Serve a W&B for the real wandb and weave SDKs on this machine."""
    from rehearsal.local_wandb.command import local_wandb as serve

    serve.main(list(arguments), prog_name="weighbridge local-wandb")


@main.group()
def gates() -> None:
    """Work with gate files."""


@gates.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check the gate file FILE; every fault is named with its line."""
    for gate in read_gates(file).gates:
        click.echo(f"{gate.name}: watches {', '.join(gate.watch)}; promotes to {gate.promote.to}")


def _tell(record: Weighing) -> None:
    click.echo(_line(record), err=True)


def _print_ids(weighings: list[WeighingId], as_json: bool) -> None:
    texts = [str(weighing) for weighing in weighings]
    click.echo(json.dumps(texts) if as_json else "\n".join(texts))


def _print_weighings(records: list[Weighing], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([record.model_dump(mode="json") for record in records]))
        return
    for record in records:
        click.echo(_line(record))


def _conclude(records: list[Weighing], wanted: Outcome, as_json: bool) -> None:
    """Print how weighings came out; exit with 1 unless all came out as wanted."""
    _print_weighings(records, as_json)
    if any(record.state != wanted for record in records):
        sys.exit(1)


def _line(record: Weighing) -> str:
    return f"{record.state:17} {record.id}  {_note(record)}"


def _note(record: Weighing) -> str:
    if record.verdict is not None and record.settled:
        return record.verdict.reason
    if record.progress is not None:
        done = f" {record.progress.done}/{record.progress.total}" if record.progress.total else ""
        return f"{record.progress.step}{done} {record.progress.detail}"
    if record.decision is not None:
        return str(record.decision)
    return ""


@contextmanager
def _until_signalled() -> Iterator[threading.Event]:
    """An event that SIGTERM or ctrl-C sets."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    yield stop


if __name__ == "__main__":
    main()
