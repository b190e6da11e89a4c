"""Rewrites the server-sent events of a streamed answer while they pass through the gateway."""

import json
from collections.abc import Callable
from typing import Any

from engine.gateway_usage import Tokens

_DATA = "data:"
# The last event of a streamed chat completion or completion, and of a streamed response.
_DONE = "[DONE]"
_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")


class EventStream:
    """The events of one answer.

    Args:
        name: The model's name for the application.
        hides_usage: Whether to leave out the event that only reports usage, because the gateway
            requested it and the application did not.
        without_key: Removes the upstream's key from a text.

    Attributes:
        tokens: The tokens that the events report; the last report counts.
        is_complete: Whether the last event has arrived. A stream that ends before was cut off.
        error: OpenAI's error object, if the upstream sent one; nothing is passed on after it.
    """

    def __init__(self, name: str, *, hides_usage: bool, without_key: Callable[[str], str]) -> None:
        self.tokens: Tokens | None = None
        self.is_complete = False
        self.error: dict[str, Any] | None = None
        self._name = name
        self._hides_usage = hides_usage
        self._without_key = without_key
        self._rest = b""

    def feed(self, received: bytes) -> bytes:
        """Take some bytes as they arrived.

        Returns:
            The complete lines of them, rewritten; empty if there are none yet.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        passed = []
        for line in lines:
            rewritten = self._rewritten(line.decode(errors="replace").rstrip("\r"))
            if self.error is not None:
                break
            if rewritten is not None:
                passed.append(self._without_key(rewritten) + "\n")
        return "".join(passed).encode()

    def _rewritten(self, line: str) -> str | None:
        """The line for the application; None if it gets none."""
        if not line.startswith(_DATA):
            return line
        data = line.removeprefix(_DATA).strip()
        if data == _DONE:
            self.is_complete = True
            return line
        try:
            event = json.loads(data)
        except ValueError:
            return line
        return self._event(event) if isinstance(event, dict) else line

    def _event(self, event: dict[str, Any]) -> str | None:
        if isinstance(event.get("error"), dict) and "choices" not in event:
            self.error = event["error"]
            return None
        tokens = Tokens.of(event)
        self.tokens = tokens or self.tokens
        self.is_complete = self.is_complete or event.get("type") in _LAST_EVENTS
        if self._hides_usage and tokens and event.get("choices") == []:
            return None
        return f"{_DATA} {json.dumps(renamed(event, self._name), separators=(',', ':'))}"


def renamed(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """Put the application's name for the model in place of the upstream's, in the same object."""
    for part in (answer, answer.get("response")):
        if isinstance(part, dict) and "model" in part:
            part["model"] = name
    return answer
