"""The command line and the public API."""

import logging
import sys
from typing import TYPE_CHECKING, Any

import click
import redis
import structlog
from pydantic import ValidationError

from commands import decide, gates, rehearse, retry, serve, status
from commands import enqueue as by_hand
from schemas.errors import WeighbridgeError
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.settings import Settings

if TYPE_CHECKING:
    from producers.enqueue import Enqueued

__all__ = ["ArtifactRef", "Settings", "WeighbridgeError", "WeighingId", "enqueue", "main"]


def enqueue(*refs: str, gate: str | None = None, force: bool = False) -> "Enqueued":
    """Enqueue versions, after checking that each exists and that a gate takes it.

        from weighbridge import enqueue

        for weighing in enqueue("my-org/wandb-registry-Chat Models/Llama:v3").wait(timeout=3600):
            print(weighing.id, weighing.state, weighing.reason)

    Args:
        refs: Versions, ``entity/project/collection:version``, by number or alias. With shell
            wildcards in the collection or the version: all matching versions in a registry that a
            gate watches, the oldest first.
        gate: Weigh under this gate only, even if it does not watch the version.
        force: Weigh again even if there is a verdict.

    Returns:
        A handle that waits for the verdicts.

    Raises:
        ConfigurationError: There is no such version or gate, or no gate watches it; nothing was
            enqueued.
        PlatformError: W&B or Redis did not answer.
    """
    from producers.enqueue import enqueue as enqueue_versions  # wandb takes a second to import

    return enqueue_versions(*refs, gate=gate, force=force)


class _Group(click.Group):
    """Prints Weighbridge's own errors as one sentence, and exits with 1."""

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
            errors = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
            raise click.ClickException(f"Invalid setting: {errors}.") from error
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"'{ctx.invoked_subcommand}' needs the package {error.name}, which is not in the"
                " base install. Install weighbridge[worker,cpu] or [worker,gpu]; a rehearsal also"
                " needs [rehearsal]."
            ) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="weighbridge")
def main() -> None:
    """Weigh every new model version before it is promoted."""
    _log_to_stderr()


def _log_to_stderr() -> None:
    """Log one line of logfmt per event to standard error; standard output is for results."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


for _command in (
    by_hand.enqueue,
    retry.retry,
    decide.approve,
    decide.reject,
    decide.rollback,
    gates.weigh,
    gates.gates,
    gates.automation,
    serve.poll,
    serve.webhook,
    serve.worker,
    status.status,
    status.events,
    status.workers,
    rehearse.rehearse,
    rehearse.local_wandb,
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
