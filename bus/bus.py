"""The bus: Redis with the inbox and the ledger on it, and the Celery app that sends tasks."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import redis
from celery import Celery

from bus.celery_app import celery_app
from bus.connection import connect
from bus.inbox import Inbox
from bus.ledger import Ledger
from schemas.settings import Settings


@dataclass(frozen=True)
class Bus:
    """The clients of the bus; a context manager that closes them.

    Attributes:
        settings: The operator's settings.
        client: Connection to Redis that decodes responses to str.
        inbox: Events that wait for dispatch.
        ledger: Records of weighings.
        app: Sends the tasks.
    """

    settings: Settings
    client: redis.Redis
    inbox: Inbox
    ledger: Ledger
    app: Celery

    @classmethod
    def open(cls, settings: Settings, app: Celery | None = None) -> Self:
        """Make the clients. Each connects on first use, and reconnects if used after ``close``.

        Args:
            app: The worker's app; None makes a producer's.
        """
        client = connect(settings.broker_url, settings.redis_master)
        return cls(
            settings=settings,
            client=client,
            inbox=Inbox(client, settings.lease),
            ledger=Ledger(client, settings.lease, settings.keep_days),
            app=app or celery_app(settings),
        )

    def close(self) -> None:
        """Close the connections."""
        self.app.close()
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
