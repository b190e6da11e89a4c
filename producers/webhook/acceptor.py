"""From a request onto the bus: the inbox takes the event, and a task nudges a worker.

The sender waits for the inbox only. Both trips carry what came at once: many events need one
pipeline, and one Celery task brings many to a worker.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import redis
import structlog

from bus.bus import Bus
from bus.publish import publish_dispatch
from producers.webhook.batches import Batches
from schemas.errors import PlatformError
from schemas.events import ModelVersionEvent
from schemas.gates import Gate

_PATIENCE = 5.0  # seconds that a trip may take
_EVENTS_PER_TRIP = 1000
_TRIPS_APART = 0.002  # seconds; a trip for each event would cost more than all the rest
_NUDGES_APART = 0.2  # seconds; a Celery message costs as much as ten deliveries

log = structlog.get_logger()


class _Arrival(NamedTuple):
    event: ModelVersionEvent
    gates: Sequence[Gate]
    is_new: asyncio.Future[bool]


class Acceptor:
    """Has the inbox take events, and workers dispatch them.

    Args:
        bus: Takes the events and the tasks.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._arrivals = Batches(self._take, at_most=_EVENTS_PER_TRIP, pause=_TRIPS_APART)
        self._accepted = Batches(self._nudge, at_most=_EVENTS_PER_TRIP, pause=_NUDGES_APART)

    async def accept(self, event: ModelVersionEvent, gates: Sequence[Gate]) -> bool:
        """Put an event on the bus. When this returns, Redis has it.

        Args:
            gates: those that take it.

        Returns:
            False for a duplicate, which told nothing new.

        Raises:
            PlatformError: Redis did not say in time that it has it. It may have it nonetheless:
                when the event is sent again, it is a duplicate then.
        """
        arrival = _Arrival(event, gates, asyncio.get_running_loop().create_future())
        self._arrivals.add(arrival)
        try:
            return await arrival.is_new
        except (TimeoutError, redis.RedisError) as error:
            raise PlatformError(
                "Redis did not take the event.", fix="Send it again in a moment."
            ) from error

    async def finish(self) -> None:
        """Send the tasks of everything that was accepted."""
        await self._arrivals.finish()
        await self._accepted.finish()

    async def _take(self, arrivals: list[_Arrival]) -> None:
        answers: Sequence[bool | Exception]
        try:
            # A timer for each arrival would cost as much as its share of the trip.
            async with asyncio.timeout(_PATIENCE):
                told = [(one.event, one.gates) for one in arrivals]
                answers = await asyncio.to_thread(self._bus.inbox.accept_all, told)
        except Exception as error:  # whatever it is, each sender must be told
            log.warning("Redis did not take events", events=len(arrivals), why=str(error))
            answers = [error] * len(arrivals)
        for arrival, answer in zip(arrivals, answers, strict=True):
            self._tell(arrival, answer)

    def _tell(self, arrival: _Arrival, answer: bool | Exception) -> None:
        if answer is True:
            self._accepted.add(arrival.event.id)
        if arrival.is_new.done():
            return  # its sender has gone, or was told to come again
        if isinstance(answer, Exception):
            arrival.is_new.set_exception(answer)
        else:
            arrival.is_new.set_result(answer)

    async def _nudge(self, event_ids: list[str]) -> None:
        try:
            await asyncio.to_thread(publish_dispatch, self._bus, event_ids)
        except PlatformError as error:
            log.warning("events wait for the sweeper", events=len(event_ids), why=str(error))
