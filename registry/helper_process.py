"""The end of wandb's helper process (wandb-core), which the SDK waits for without a bound."""

import os
import threading
from contextlib import suppress

import psutil
import structlog
import wandb

log = structlog.get_logger()

_NAME = "wandb-core"

# Seconds. What has not arrived by then was given up by whoever asked for it.
WITHIN = 10.0

# The helper process tries a call for up to 16 minutes
# (docs/upstream/wandb-protocol.md, "Timeouts and retries"). Four tries are half a minute; the
# weighing itself is tried again.
os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "4")


def end_helper_process() -> None:
    """End the helper process of this process, if there is one; the next call to W&B starts another.

    Asked to end, it first sends what it still has: for days, while W&B is away. And where it just
    then answers a call that nobody waits for any longer, its connection breaks before it is asked,
    and it never ends. Hence it is killed after `WITHIN` seconds. The SDK has as long again to
    notice, and is left to itself then: the next call starts from nothing.
    """
    helpers = running()
    ending = threading.Thread(target=_tear_down, daemon=True)
    ending.start()
    ending.join(WITHIN)
    _kill(helpers)
    ending.join(WITHIN)


def _tear_down() -> None:
    try:
        wandb.teardown()  # noqa: TID251  bounded above
    except SystemExit:  # the SDK exits as its helper process does
        pass
    except Exception as error:
        log.warning("wandb did not end its helper process", error=str(error))


def running() -> list[psutil.Process]:
    """The helper processes that this process has started."""
    return [child for child in psutil.Process().children() if _is_helper(child)]


def _is_helper(child: psutil.Process) -> bool:
    try:
        return child.name() == _NAME
    except psutil.NoSuchProcess:  # it has just ended
        return False


def _kill(helpers: list[psutil.Process]) -> None:
    for helper in helpers:
        with suppress(psutil.NoSuchProcess):
            helper.kill()
