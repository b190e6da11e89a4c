"""Put events on the bus, and notify the workers without making the sender wait for it."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import redis
import structlog

from bus.bus import Bus
from bus.publish import publish_dispatch
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent
from schemas.gates import Gate

_TIMEOUT = 5.0  # seconds that the inbox may take
_THREADS = 8  # calls to the inbox at once
_NOTIFY_INTERVAL = 0.2  # seconds; a Celery message costs as much as several deliveries

log = structlog.get_logger()


class Acceptor:
    """Stores events in the inbox, then sends the tasks that dispatch them.

    The tasks are best effort: without one, the sweeper dispatches the event later.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        # Not the default executor: while Redis hangs, /readyz and /metrics need a free thread.
        self._threads = ThreadPoolExecutor(_THREADS, "inbox")
        self._accepted: list[str] = []
        self._notifying: asyncio.Task[None] | None = None

    async def accept(self, event: ModelVersionEvent, gates: Sequence[Gate]) -> bool:
        """Put an event on the bus. When this returns, Redis has it.

        Args:
            gates: Those that take the event.

        Returns:
            False for a duplicate.

        Raises:
            PlatformError: Redis did not confirm the event in time. It may have it nonetheless; the
                event is then a duplicate when it is sent again.
        """
        accept = self._bus.inbox.accept
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_TIMEOUT):
                is_new = await loop.run_in_executor(self._threads, accept, event, gates)
        except (TimeoutError, redis.RedisError) as error:
            log.warning("Redis did not accept an event", version=str(event.ref), why=str(error))
            raise PlatformError(
                "Redis did not accept the event.", fix="Send it again in a moment."
            ) from error
        if is_new:
            self._accepted.append(event.id)
            if self._notifying is None or self._notifying.done():
                self._notifying = asyncio.create_task(self._notify())
        return is_new

    async def finish(self) -> None:
        """Send the tasks of all accepted events."""
        if self._notifying is not None:
            await self._notifying
        self._threads.shutdown(wait=False)

    async def _notify(self) -> None:
        while self._accepted:
            event_ids, self._accepted = self._accepted, []
            try:
                await asyncio.to_thread(publish_dispatch, self._bus, event_ids)
            except PlatformError as error:
                log.warning("events wait for the sweeper", events=len(event_ids), why=str(error))
            await asyncio.sleep(_NOTIFY_INTERVAL)
