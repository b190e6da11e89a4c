"""Detect a stalled worker: it sends itself a self-test task through Redis.

A worker that is up but not consuming looks healthy from outside (celery 10205).
"""

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime

import redis
import structlog
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu.entity import Exchange
from kombu.exceptions import OperationalError

from bus.celery_app import queue_length
from bus.connection import KEY_PREFIX, connect
from bus.heartbeat import BEATS_PER_LEASE, Heartbeat
from bus.liveness import WorkerRecord, remove_record, write_record
from schemas.errors import PlatformError
from worker.tasks import app, settings

SELF_TEST_TASK = "weighbridge.pulse"  # the task's original name

_SHORTEST_INTERVAL = 1.0  # seconds; a worker on a busy machine is not stalled
_STALLED_EXIT_CODE = 1

# Kombu lists the remote control queue of each worker here, and removes a worker only if it shut
# down cleanly. Nothing on Redis reads the list, and live workers add themselves again.
_CONTROL_LIST = f"{KEY_PREFIX}_kombu.binding.celery.pidbox"
_CONTROL_LIST_TTL = 86400  # seconds
_NO_TTL = -1  # Redis's answer for a key without one

log = structlog.get_logger()


def _self_test() -> None:
    """Do nothing: what counts is that the worker received the task."""


app.task(name=SELF_TEST_TASK, acks_late=False, send_events=False)(_self_test)


class Liveness:
    """Runs the liveness check, and keeps the worker's record on Redis.

    Each heartbeat sends the self-test task and checks whether the last one was delivered. A worker
    whose processes are all busy cannot receive it, and without Redis no worker can; neither counts
    as stalled. A worker that is idle and receives no self-test task for one lease is stalled: it
    logs that and exits, so that its supervisor starts a new one. It holds no weighing then.

    Args:
        queues: Queues that the worker serves.
        slots: Tasks that it runs at the same time.

    Attributes:
        name: Name of the Celery node.
        queue: The self-test task's queue; the worker must serve it too.
    """

    def __init__(self, queues: list[str], slots: int) -> None:
        self.name = f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}"
        self.queue = f"pulse.{self.name}"  # the queue's original name
        self._slots = slots
        self._interval = max(settings.lease / BEATS_PER_LEASE, _SHORTEST_INTERVAL)
        self._ttl = self._interval * BEATS_PER_LEASE
        _add_queue(self.queue, self._ttl)
        self._client = connect(settings.broker_url, settings.redis_master)
        self._record = WorkerRecord(
            name=self.name, queues=tuple(queues), pid=os.getpid(), started_at=datetime.now(UTC)
        )
        self._delivered = 0
        self._missed_tests = 0
        self._heartbeat = Heartbeat("liveness", self._interval, self._try_beat, at_once=True)

    def start(self, sender: Consumer, **_: object) -> None:
        """Start the check; a receiver of Celery's `worker_ready`, which the consumer sends."""
        self._consumer = sender
        self._heartbeat.start()

    def end(self) -> None:
        """Stop the check, and remove the record unless the worker is stalled."""
        self._heartbeat.stop(self._interval)
        with suppress(redis.RedisError):  # the keys expire instead
            self._client.delete(self._queue_key)
            if not self._record.stalled:
                remove_record(self._client, self.name)

    def check(self) -> None:
        """Check that the worker did not exit because it was stalled.

        Raises:
            PlatformError: It did.
        """
        if self._record.stalled:
            raise PlatformError(
                f"The worker {self.name} was not consuming from its queues.",
                fix="Start it again, unless a supervisor does.",
            )

    @property
    def _queue_key(self) -> str:
        return f"{KEY_PREFIX}{self.queue}"

    def _try_beat(self) -> None:
        try:
            self._beat()
        except (redis.RedisError, OperationalError, OSError) as error:
            log.warning("Redis is unavailable", worker=self.name, error=str(error))
            self._missed_tests = 0

    def _beat(self) -> None:
        self._update_record()
        write_record(self._client, self._record, self._ttl)
        if not queue_length(self._client, self.queue):  # otherwise the last one is still waiting
            app.send_task(SELF_TEST_TASK, queue=self.queue, ignore_result=True, retry=False)
        if self._client.ttl(_CONTROL_LIST) == _NO_TTL:
            self._client.expire(_CONTROL_LIST, _CONTROL_LIST_TTL)

    def _update_record(self) -> None:
        was_delivered = self._was_delivered()
        busy_with = _running_tasks()
        is_reconnecting = self._consumer.connection is None
        is_busy = len(busy_with) >= self._slots
        is_excused = was_delivered or is_reconnecting or _is_stopping() or is_busy
        self._missed_tests = 0 if is_excused else self._missed_tests + 1
        heard_at = datetime.now(UTC) if was_delivered else self._record.heard_at
        changes = {"busy_with": busy_with, "heard_at": heard_at}
        self._record = self._record.model_copy(update=changes)
        if self._missed_tests > BEATS_PER_LEASE:
            self._stop_worker()

    def _was_delivered(self) -> bool:
        before, self._delivered = self._delivered, state.total_count[SELF_TEST_TASK]
        return self._delivered > before

    def _stop_worker(self) -> None:
        self._record = self._record.model_copy(update={"stalled": True})
        log.error(
            "the self-test task was not delivered: the worker is not consuming",
            worker=self.name,
            queues=",".join(self._record.queues),
            fix="The worker exits. Start it again, unless a supervisor does.",
        )
        state.should_stop = _STALLED_EXIT_CODE


def _add_queue(name: str, ttl: float) -> None:
    """Add the self-test queue; Redis deletes its messages ``ttl`` seconds after the last one."""
    # Without no_ack, another worker would redeliver a killed worker's task into an orphaned queue.
    arguments = {"x-expires": int(ttl * 1000)}
    queue = app.amqp.queues.add(name, no_ack=True, queue_arguments=arguments)
    # With the default exchange, Redis needs no binding.
    queue.exchange = Exchange("")  # type: ignore[no-untyped-call]


def _is_stopping() -> bool:
    return state.should_stop is not None and state.should_stop is not False  # 0 is an exit code


def _running_tasks() -> tuple[str, ...]:
    requests = list(state.requests.values())  # a copy, because the worker's loop changes it
    return tuple(
        f"{one.name}{one.argsrepr}"
        for one in requests
        if one in state.active_requests and one.name != SELF_TEST_TASK
    )
