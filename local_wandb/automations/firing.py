"""Finds the automations that an event fires, and delivers them from a thread."""

import json
import logging
import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple

from local_wandb.automations.delivery import deliver
from local_wandb.automations.events import (
    EXAMPLE_PAYLOAD,
    LINKED,
    VersionEvent,
    render,
)
from local_wandb.config import Webhook
from local_wandb.graphql.filters import matches
from local_wandb.store.automations import save_integration
from local_wandb.store.rows import REGISTRY_PREFIX, Automation
from local_wandb.store.store import Store

logger = logging.getLogger(__name__)


class Delivery(NamedTuple):
    """A body for the webhook, and the path of the version that it describes."""

    path: str
    body: bytes


class Automations:
    """Fires the automations of a server, in order, from a background thread.

    Like W&B it never retries, so a receiver needs a second way to find missed events.

    Args:
        webhook: The one webhook of the server; None delivers nothing.
        store: The automations that clients created.
    """

    def __init__(self, webhook: Webhook | None, store: Store) -> None:
        self._webhook = webhook
        self._store = store
        self._integration = save_integration(store, webhook) if webhook else None
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="automations", daemon=True)
        self._thread.start()

    def fire(self, event: VersionEvent) -> None:
        """Queue the deliveries of an event and return at once.

        Args:
            event: The event, whose change is already committed.
        """
        if self._webhook is not None:
            for payload in self._fired(self._webhook, event):
                self._queue.put(Delivery(event.path, render(payload, event)))

    def close(self) -> None:
        """Send the queued deliveries, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _fired(self, webhook: Webhook, event: VersionEvent) -> Iterator[str]:
        if webhook.automation and _fires_by_default(webhook, event):
            yield EXAMPLE_PAYLOAD
        created = self._store.automations.where(
            event_type=event.type, enabled=True, integration_id=self._integration
        )
        yield from (one.payload for one in created if _fires(one, event))

    def _work(self) -> None:
        number = 0
        while (delivery := self._queue.get()) is not None:
            if self._webhook is not None:
                number += 1
                for outcome in _outcomes(self._webhook, delivery.body, number):
                    logger.info("webhook delivery %d of %s: %s", number, delivery.path, outcome)


def _fires_by_default(webhook: Webhook, event: VersionEvent) -> bool:
    in_scope = webhook.registry in (None, event.project)
    return event.type == LINKED and in_scope and event.project.startswith(REGISTRY_PREFIX)


def _fires(automation: Automation, event: VersionEvent) -> bool:
    held = {"PROJECT": event.project_id, "ARTIFACT_COLLECTION": event.collection_id}
    if held[automation.scope_type] != automation.scope_id:
        return False
    return matches({"alias": list(event.aliases)}, json.loads(automation.event_filter))


def _outcomes(webhook: Webhook, body: bytes, number: int) -> Iterator[str]:
    if number in webhook.drop_deliveries:
        yield "dropped on purpose"
        return
    yield deliver(webhook, body)
    if number in webhook.double_deliveries:
        yield f"once more on purpose, {deliver(webhook, body)}"
