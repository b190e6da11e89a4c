"""A worker's pulse: a tiny task that it sends itself through Redis, to know that it still hears.

A worker that is up but takes nothing from its queues looks healthy from outside (celery 10205).
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
from bus.heartbeat import Heartbeat
from bus.liveness import WorkerRecord, remove_record, write_record
from schemas.errors import PlatformError
from worker.tasks import app, settings

SELF_TEST_TASK = "weighbridge.pulse"

_BEATS_PER_LEASE = 4
_SHORTEST_INTERVAL = 1.0  # seconds; a worker on a machine that is busy is not deaf
_ENDED_DEAF = 1  # Celery's exit code

# Kombu lists here where remote control reaches each worker, and forgets a worker only if it ended
# in order. Nothing on Redis reads the list, and who lives writes itself into it again.
_CONTROL_LIST = f"{KEY_PREFIX}_kombu.binding.celery.pidbox"
_CONTROL_LIST_KEPT = 86400  # seconds
_FOR_EVER = -1  # what Redis answers for a key without an end

log = structlog.get_logger()


def _pulse() -> None:
    """Nothing: what counts is that the worker took it from its queue."""


app.task(name=SELF_TEST_TASK, acks_late=False, send_events=False)(_pulse)


class Liveness:
    """Sends the pulse, notes when it came back, and keeps the worker's record.

    A worker whose every process is busy cannot take it, and with Redis away nobody can: neither is
    deafness. A worker that is idle and does not hear itself for a lease says so and ends, so that
    whatever supervises it starts a new one: it holds nothing, and nothing reaches it.

    Args:
        queues: that the worker serves.
        slots: tasks that it runs at once.

    Attributes:
        name: of the Celery node.
        queue: of the pulse alone; the worker must serve it beside the others.
    """

    def __init__(self, queues: list[str], slots: int) -> None:
        self.name = f"{'-'.join(queues)}-{os.getpid()}@{socket.gethostname()}"
        self.queue = f"pulse.{self.name}"
        self._slots = slots
        self._interval = max(settings.lease / _BEATS_PER_LEASE, _SHORTEST_INTERVAL)
        self._kept = self._interval * _BEATS_PER_LEASE
        _add_queue(self.queue, self._kept)
        self._client = connect(settings.broker_url, settings.redis_master)
        self._record = WorkerRecord(
            name=self.name, queues=tuple(queues), pid=os.getpid(), started_at=datetime.now(UTC)
        )
        self._taken = 0
        self._silent_beats = 0
        self._heartbeat = Heartbeat("liveness", self._interval, self._try_to_beat, at_once=True)

    def start(self, sender: Consumer, **_: object) -> None:
        """Begin; a receiver of Celery's `worker_ready`, whose sender is the worker's consumer."""
        self._consumer = sender
        self._heartbeat.start()

    def end(self) -> None:
        """Stop, and leave nothing behind but what a deaf worker says of itself."""
        self._heartbeat.stop(self._interval)
        with suppress(redis.RedisError):  # then its time runs out
            self._client.delete(self._queue_key)
            if not self._record.stalled:
                remove_record(self._client, self.name)

    def check(self) -> None:
        """See that the worker did not end because it was deaf.

        Raises:
            PlatformError: it did.
        """
        if self._record.stalled:
            raise PlatformError(
                f"The worker {self.name} took nothing from its queues any more.",
                fix="Start it again, if nothing does that for you.",
            )

    @property
    def _queue_key(self) -> str:
        return f"{KEY_PREFIX}{self.queue}"

    def _try_to_beat(self) -> None:
        try:
            self._beat()
        except (redis.RedisError, OperationalError, OSError) as error:
            log.warning("Redis is away", worker=self.name, error=str(error))
            self._silent_beats = 0

    def _beat(self) -> None:
        self._listen()
        write_record(self._client, self._record, self._kept)
        if not queue_length(self._client, self.queue):  # else it is still on its way
            app.send_task(SELF_TEST_TASK, queue=self.queue, ignore_result=True, retry=False)
        if self._client.ttl(_CONTROL_LIST) == _FOR_EVER:
            self._client.expire(_CONTROL_LIST, _CONTROL_LIST_KEPT)

    def _listen(self) -> None:
        came_back = self._came_back()
        busy_with = _busy_with()
        connects_anew = self._consumer.connection is None
        excused = came_back or connects_anew or _told_to_end() or len(busy_with) >= self._slots
        self._silent_beats = 0 if excused else self._silent_beats + 1
        heard_at = datetime.now(UTC) if came_back else self._record.heard_at
        news = {"busy_with": busy_with, "heard_at": heard_at}
        self._record = self._record.model_copy(update=news)
        if self._silent_beats > _BEATS_PER_LEASE:
            self._give_up()

    def _came_back(self) -> bool:
        before, self._taken = self._taken, state.total_count[SELF_TEST_TASK]
        return self._taken > before

    def _give_up(self) -> None:
        self._record = self._record.model_copy(update={"stalled": True})
        log.error(
            "this worker is deaf: it is idle, and takes nothing from its queues",
            worker=self.name,
            queues=",".join(self._record.queues),
            fix="It ends itself. Start it again, if nothing does that for you.",
        )
        state.should_stop = _ENDED_DEAF


def _add_queue(name: str, kept: float) -> None:
    """Add the queue of a pulse, of which nothing may outlive the worker for longer than `kept`.

    Args:
        name: of the queue.
        kept: seconds that a pulse waits to be taken.
    """
    # What a killed worker had not acknowledged, another would bring back, into a queue of nobody's.
    arguments = {"x-expires": int(kept * 1000)}
    queue = app.amqp.queues.add(name, no_ack=True, queue_arguments=arguments)
    # The exchange to which Redis need not bind a queue.
    queue.exchange = Exchange("")  # type: ignore[no-untyped-call]


def _told_to_end() -> bool:
    return state.should_stop is not None and state.should_stop is not False  # 0 is an exit code


def _busy_with() -> tuple[str, ...]:
    requests = list(state.requests.values())  # a copy: the worker's loop changes it meanwhile
    return tuple(
        f"{one.name}{one.argsrepr}"
        for one in requests
        if one in state.active_requests and one.name != SELF_TEST_TASK
    )
