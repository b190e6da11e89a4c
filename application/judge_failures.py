"""The failures of an evaluation's judges, which Weave records on the rows and otherwise ignores."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from schemas.errors import WeighbridgeError

_failures: ContextVar[list[WeighbridgeError] | None] = ContextVar("judges' failures", default=None)


@contextmanager
def fail_on_judge_errors() -> Iterator[None]:
    """On exit, raise a judge's first failure, even if the block succeeded.

    Weave continues when a scorer raises, and records the exception on the row only. Here one
    failure invalidates the evaluation, so no judge is queried after it.

    Raises:
        PlatformError, ConfigurationError: A judge failed, so the scores are incomplete.
    """
    failures: list[WeighbridgeError] = []
    token = _failures.set(failures)
    try:
        yield
    except Exception as error:
        if failures:
            raise failures[0] from error
        raise
    finally:
        _failures.reset(token)
    if failures:
        raise failures[0]


@contextmanager
def noted() -> Iterator[None]:
    """Note the failure of a judge in this block, for ``fail_on_judge_errors``.

    Raises:
        PlatformError, ConfigurationError: A judge failed before, so this one is not queried.
    """
    failures = _failures.get()
    if failures:
        raise type(failures[0])(f"No judge is asked any more. {failures[0].message}")
    try:
        yield
    except WeighbridgeError as error:
        if failures is not None:
            failures.append(error)
        raise
