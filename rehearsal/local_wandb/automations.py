"""Tells a webhook about every version that is linked into a registry, as W&B's automations do."""

import base64
import hashlib
import hmac
import json
import logging
import queue
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass

from rehearsal.local_wandb.config import Webhook

#: A receiver that does not answer in this time has missed the delivery, in seconds.
TIMEOUT_S = 10

#: Straight to the receiver: a proxy of this machine cannot reach loopback addresses.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkedVersion:
    """A version that was linked into a registry.

    Attributes:
        artifact_id: the opaque id of the artifact.
        author: name of the user.
        entity: of the organisation.
        project: the registry with its prefix.
        collection: in the registry.
        version: number in that collection.
    """

    artifact_id: str
    author: str
    entity: str
    project: str
    collection: str
    version: int

    def payload(self) -> dict[str, str]:
        """The body of W&B's own examples (facts/wandb-webhooks.md)."""
        path = f"{self.entity}/{self.project}/{self.collection}:v{self.version}"
        return {
            "event_type": "LINK_ARTIFACT",
            "event_author": self.author,
            "alias": "",  # W&B fills it for ADD_ARTIFACT_ALIAS only
            "artifact_version": f"wandb-artifact://_id/{self.artifact_id}",
            "artifact_version_string": path,
            "artifact_collection_name": self.collection,
            "project_name": self.project,
            "entity_name": self.entity,
        }


class Automations:
    """Delivers each linked version once, in order, from a thread of its own.

    Like W&B it never tries again: whoever listens needs a second way to find what was missed.

    Args:
        webhook: where to; None delivers nothing.
    """

    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook
        self._queue: queue.SimpleQueue[LinkedVersion | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="automations", daemon=True)
        self._thread.start()

    def announce(self, linked: LinkedVersion) -> None:
        """Deliver soon; returns at once.

        Args:
            linked: the version.
        """
        self._queue.put(linked)

    def close(self) -> None:
        """Deliver what waits, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        number = 0
        while (linked := self._queue.get()) is not None:
            if self._webhook is not None and self._webhook.registry in (None, linked.project):
                number += 1
                outcome = deliver(self._webhook, linked, number)
                path = linked.payload()["artifact_version_string"]
                logger.info("webhook delivery %d of %s: %s", number, path, outcome)


def deliver(webhook: Webhook, linked: LinkedVersion, number: int) -> str:
    """Send one delivery, or leave it out when its number says so.

    Args:
        webhook: where to.
        linked: what to tell.
        number: of the delivery, from 1.

    Returns:
        What became of it, for the log.
    """
    if number in webhook.drop_deliveries:
        return "dropped on purpose"
    body = json.dumps(linked.payload()).encode()
    # The scheme is http or https: pydantic's HttpUrl takes no other.
    request = urllib.request.Request(  # noqa: S310
        str(webhook.url), data=body, headers=_headers(webhook, body), method="POST"
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as response:
            return f"answered {response.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"answered {error.code}"
    except OSError as error:
        return f"failed, {error}"


def signature(secret: str, body: bytes) -> str:
    """The value of `X-Wandb-Signature`.

    Args:
        secret: shared with the receiver.
        body: of the request.
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def _headers(webhook: Webhook, body: bytes) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if webhook.token is not None:
        headers["Authorization"] = f"Bearer {webhook.token.get_secret_value()}"
    if webhook.secret is not None:
        headers["X-Wandb-Signature"] = signature(webhook.secret.get_secret_value(), body)
    return headers
