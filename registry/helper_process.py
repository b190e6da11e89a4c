"""End wandb's helper process (wandb-core), for which the SDK waits without a timeout."""

import os
import threading
from contextlib import suppress

import psutil
import structlog
import wandb

log = structlog.get_logger()

_NAME = "wandb-core"

# Seconds. By then the callers of all unfinished calls have timed out.
TIMEOUT = 10.0

# By default the helper process retries a call for up to 16 minutes
# (docs/upstream/wandb-protocol.md, "Timeouts and retries"). Four retries take half a minute, and
# the weighing itself is retried.
os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", "4")


def end_helper_process() -> None:
    """End this process's helper process, if there is one; the next call to W&B starts another.

    When asked to end, it first sends its pending data, which takes days while W&B is down. If it is
    just answering a call whose caller has timed out, its connection breaks before it receives the
    request, and it never ends. It is therefore killed after ``TIMEOUT`` seconds. The SDK has the
    same time again to notice; after that it is ignored, and the next call starts afresh.
    """
    helpers = running()
    ending = threading.Thread(target=_tear_down, daemon=True)
    ending.start()
    ending.join(TIMEOUT)
    _kill(helpers)
    ending.join(TIMEOUT)


def _tear_down() -> None:
    try:
        wandb.teardown()  # noqa: TID251  bounded above
    except SystemExit:  # the SDK exits as its helper process does
        pass
    except Exception as error:
        log.warning("wandb failed to end its helper process", error=str(error))


def running() -> list[psutil.Process]:
    """Return the helper processes that this process has started."""
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
