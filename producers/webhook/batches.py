"""Trips that carry many things at once: what comes while one is under way goes with the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Carries items in the order in which they come, one batch at a time.

    Under no load an item goes alone and at once; the more come, the more share a trip.

    Args:
        carry: takes one batch away, and tells itself what became of each item.
        at_most: items of one batch.
        pause: seconds after a trip in which the next batch gathers.
    """

    def __init__(
        self, carry: Callable[[list[Item]], Awaitable[None]], *, at_most: int, pause: float = 0.0
    ) -> None:
        self._carry = carry
        self._at_most = at_most
        self._pause = pause
        self._gathered: list[Item] = []
        self._trips: asyncio.Task[None] | None = None

    def add(self, item: Item) -> None:
        """Have an item carried; returns at once. An event loop must run."""
        self._gathered.append(item)
        if self._trips is None or self._trips.done():
            self._trips = asyncio.create_task(self._carry_all())

    async def finish(self) -> None:
        """Wait until everything that was added is carried."""
        if self._trips is not None:
            await self._trips

    async def _carry_all(self) -> None:
        while self._gathered:
            batch = self._gathered[: self._at_most]
            del self._gathered[: self._at_most]
            await self._carry(batch)
            if self._pause:
                await asyncio.sleep(self._pause)
