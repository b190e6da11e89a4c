"""The Celery app: queues, routes and delivery guarantees.

With Redis as the broker, a crashed worker's task is redelivered late, and a long task may be
delivered twice (docs/upstream/celery-redis.md, "Redelivery"). A task therefore carries only ids;
the inbox and the ledger decide whether there is anything to do.
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

# Redis serves 0 first, which is also the priority of a task without one (Celery's "Redis Message
# Priorities"): a dispatch, a sweep, and a weighing that was requeued.
FIRST, LATER = 0, 3

# Redis needs no declaration of a queue, and its keys would never be removed.
_UNDECLARED = {"no_declare": True}

# Seconds. Longer than any weighing, because a shorter timeout would run every long task twice. The
# sweeper requeues lost weighings long before this.
_VISIBILITY_TIMEOUT = 24 * 3600
_PUBLISH_RETRIES = {"max_retries": 3, "interval_start": 0.1, "interval_step": 0.3}
_STATES_KEPT = 24 * 3600  # seconds; the ledger keeps the results


class _App(Celery):  # type: ignore[misc]  # Celery has no types
    """Converts the broker's URL to Celery's form, even if it comes from the environment.

    Connections for reading have no timeout, because a worker waits for tasks on them.
    """

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """Return a connection for consuming."""
        return super().connection_for_read(celery_url(url or self.conf.broker_read_url), **options)

    def connection_for_write(
        self, url: str | None = None, transport_options: dict[str, Any] | None = None, **more: Any
    ) -> Any:
        """Return a connection for publishing; unlike Celery's own, it has a timeout."""
        converted = celery_url(url or self.conf.broker_write_url)
        options = {"socket_timeout": ANSWER_TIMEOUT, **(transport_options or {})}
        return super().connection_for_write(converted, transport_options=options, **more)


def celery_app(settings: Settings) -> Celery:
    """Make a producer's app; only the broker and the lease are read from the settings.

    Returns:
        An app whose tasks are acknowledged late and reserved one at a time.
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
        broker_connection_max_retries=None,  # a worker waits for Redis indefinitely
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    return app


def worker_app(settings: Settings) -> Celery:
    """Make the app of a worker, or of a process that reads task states.

    It uses the broker as its result backend. A producer has no backend: it would need a second
    connection, and an unavailable backend could block it.
    """
    app = celery_app(settings)
    app.conf.update(
        result_backend=celery_url(settings.broker_url),
        result_expires=_STATES_KEPT,
        # A Redis that is down or hangs must not delay a weighing.
        redis_socket_connect_timeout=CONNECT_TIMEOUT,
        redis_socket_timeout=ANSWER_TIMEOUT,
        result_backend_transport_options={
            **celery_options(settings.broker_url, settings.redis_master),
            "retry_policy": {"max_retries": 0},
        },
    )
    return app


def queue_length(client: redis.Redis, queue: str) -> int:
    """Count the tasks that wait in a queue, without those that a worker has reserved."""
    with client.pipeline(transaction=False) as pipeline:
        for key in queue_keys(queue):
            pipeline.llen(key)
        return sum(pipeline.execute())


def queue_keys(queue: str) -> list[str]:
    """The Redis lists of a queue, one per priority, highest priority first."""
    _, *later = Channel.priority_steps
    key = f"{KEY_PREFIX}{queue}"
    return [key, *(f"{key}{Channel.sep}{step}" for step in later)]
