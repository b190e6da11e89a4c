"""Counts requests and tokens for the gateway."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from schemas.usage import ModelUsage


class Tokens(NamedTuple):
    """The tokens of one answer."""

    prompt: int
    completion: int
    total: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "Tokens | None":
        """The tokens that an answer, or one event of a streamed answer, reports.

        Args:
            answer: A chat completion, completion, list of embeddings or response, or an event of
                one. Responses say ``input_tokens`` and ``output_tokens``.

        Returns:
            None if it reports none.
        """
        inner = answer.get("response")  # in the last event of a streamed response
        usage = answer.get("usage") or (inner.get("usage") if isinstance(inner, Mapping) else None)
        if not isinstance(usage, Mapping):
            return None
        prompt = _count(usage, "prompt_tokens", "input_tokens")
        completion = _count(usage, "completion_tokens", "output_tokens")
        if prompt is None:
            return None
        total = _count(usage, "total_tokens")
        return cls(prompt, completion or 0, prompt + (completion or 0) if total is None else total)


def _count(usage: Mapping[str, Any], *names: str) -> int | None:
    counts = (usage.get(name) for name in names)
    return next((count for count in counts if isinstance(count, int)), None)


class UsageCounter:
    """Counts the requests to one model. It may be read by another thread than counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: list[Tokens | None] = []
        self._seconds: list[float] = []
        self._failed = 0

    @contextmanager
    def measured(self) -> Iterator["Measurement"]:
        """Count one request: when its answer is complete, or else as failed when the block ends."""
        measurement = Measurement(self)
        try:
            yield measurement
        finally:
            if not measurement.is_complete:
                with self._lock:
                    self._failed += 1

    def add(self, tokens: Tokens | None, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            tokens: Its tokens; None if the answer reports none.
            seconds: How long it took.
        """
        with self._lock:
            self._tokens.append(tokens)
            self._seconds.append(seconds)

    def usage(self) -> ModelUsage:
        """What has been counted so far."""
        with self._lock:
            tokens, seconds, failed = list(self._tokens), tuple(self._seconds), self._failed
        counted = [one for one in tokens if one]
        return ModelUsage(
            requests=len(tokens) + failed,
            failed_requests=failed,
            uncounted_requests=len(tokens) - len(counted),
            prompt_tokens=sum(one.prompt for one in counted),
            completion_tokens=sum(one.completion for one in counted),
            total_tokens=sum(one.total for one in counted),
            seconds=seconds,
        )


class Measurement:
    """One request while it is answered.

    Args:
        counter: Counts it.

    Attributes:
        is_complete: Whether it has been counted as answered.
    """

    def __init__(self, counter: UsageCounter) -> None:
        self.is_complete = False
        self._counter = counter
        self._started = time.perf_counter()

    def complete(self, tokens: Tokens | None) -> None:
        """Count the request, before the end of its answer is sent.

        A client that has all that it needs may disconnect at once, and whoever has the answer must
        find it counted.

        Args:
            tokens: Its tokens; None if the answer reports none.
        """
        if not self.is_complete:
            self.is_complete = True
            self._counter.add(tokens, time.perf_counter() - self._started)
