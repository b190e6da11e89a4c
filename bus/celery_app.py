"""The Celery app: queues, routes and what delivery promises.

Redis as a broker brings a crashed worker's task back late, or a long one twice
(docs/upstream/celery-redis.md, "Redelivery"). So a task here carries only the name of a weighing;
whether it may run is decided by the ledger, and a redelivered task meets the ledger first.
"""

from typing import Any

import redis
from celery import Celery
from kombu.transport.redis import Channel

from bus.connection import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    KEY_PREFIX,
    celery_options,
    celery_url,
)
from schemas.settings import Settings

EVENTS_QUEUE = "events"
GPU_QUEUE = "gpu"
DISPATCH_TASK = "weighbridge.dispatch"
WEIGH_TASK = "weighbridge.weigh"
SWEEP_TASK = "weighbridge.sweep"

# Redis serves 0 first, which is what a task without a priority has (Celery's "Redis Message
# Priorities"): a dispatch, a sweep, and a weighing that was put back.
FIRST, LATER = 0, 3

# Of a queue. Redis needs no declaration, and what one leaves there nobody would remove.
_UNDECLARED = {"no_declare": True}

# Seconds. Longer than any weighing: redelivery by the broker is the last resort, the sweeper the
# first, and a timeout below the longest task would run every long task twice.
_VISIBILITY_TIMEOUT = 24 * 3600
_PUBLISH_RETRIES = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3}
_STATES_KEPT = 24 * 3600  # seconds; the ledger keeps what must be known later


class _App(Celery):  # type: ignore[misc]  # Celery has no types
    """Spells the broker's URL as Celery wants it, which prefers what the environment says.

    A worker consumes with a connection that waits for as long as nothing comes.
    """

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """A connection to consume with."""
        return super().connection_for_read(celery_url(url or self.conf.broker_read_url), **options)

    def connection_for_write(
        self, url: str | None = None, transport_options: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        """A connection to publish with; unlike Celery's it waits with a limit for an answer."""
        spelled = celery_url(url or self.conf.broker_write_url)
        options = {"socket_timeout": ANSWER_TIMEOUT, **(transport_options or {})}
        return super().connection_for_write(spelled, transport_options=options, **more)


def celery_app(settings: Settings) -> Celery:
    """The app that producers send with and that workers serve.

    Args:
        settings: how Redis is reached, and the lease, are all that is read.

    Returns:
        An app whose tasks are late-acknowledged, one reserved at a time.
    """
    app = _App("weighbridge", broker=settings.broker_url)
    app.conf.update(
        task_queues={EVENTS_QUEUE: _UNDECLARED, GPU_QUEUE: _UNDECLARED},
        task_routes={
            DISPATCH_TASK: {"queue": EVENTS_QUEUE},
            SWEEP_TASK: {"queue": EVENTS_QUEUE},
            WEIGH_TASK: {"queue": GPU_QUEUE},
        },
        task_default_queue=EVENTS_QUEUE,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        task_ignore_result=True,  # the ledger has the results
        task_publish_retry_policy=_PUBLISH_RETRIES,
        broker_transport_options={
            **celery_options(settings.broker_url, settings.redis_master),
            "visibility_timeout": _VISIBILITY_TIMEOUT,
            "socket_keepalive": True,
            "socket_connect_timeout": CONNECT_TIMEOUT,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for Redis however long it is away
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        beat_schedule={
            "sweep": {
                "task": SWEEP_TASK,
                "schedule": settings.lease / 4,
                "options": {
                    "expires": settings.lease / 4,  # so that they do not pile up
                    "ignore_result": True,  # else the beat would listen for each one's result
                },
            },
        },
    )
    return app


def worker_app(settings: Settings) -> Celery:
    """The same app for a process that runs weighings, or that reads their states.

    It has Redis as result backend. A producer has none: it would hold a second connection, and a
    backend that is away could make it wait.

    Args:
        settings: the broker's URL is the backend's, too.
    """
    app = celery_app(settings)
    app.conf.update(
        result_backend=celery_url(settings.broker_url),
        result_expires=_STATES_KEPT,
        # A Redis that is away, or does not answer, must not hold a weighing up.
        redis_socket_connect_timeout=CONNECT_TIMEOUT,
        redis_socket_timeout=ANSWER_TIMEOUT,
        result_backend_transport_options={
            **celery_options(settings.broker_url, settings.redis_master),
            "retry_policy": {"max_retries": 0},
        },
    )
    return app


def queue_length(client: redis.Redis, queue: str) -> int:
    """How many tasks wait in a queue; one that a worker holds is none of them."""
    with client.pipeline(transaction=False) as pipeline:
        for key in queue_keys(queue):
            pipeline.llen(key)
        return sum(pipeline.execute())


def queue_keys(queue: str) -> list[str]:
    """The lists that make up a queue, one for each priority, the first to be served first."""
    _, *later = Channel.priority_steps
    key = f"{KEY_PREFIX}{queue}"
    return [key, *(f"{key}{Channel.sep}{step}" for step in later)]
