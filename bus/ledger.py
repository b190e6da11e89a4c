"""The ledger: one record per weighing, which decides which worker may run it.

A weighing goes `queued → running → promoted | rejected | failed`. If its gate requires approval, it
stops at `awaiting approval`, and a person's decision queues it again. Its identity is (gate,
collection, version number), so events from three sources about one version share a record. The
broker delivers at least once; the ledger makes it exactly once.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import redis

from bus import transitions
from bus.connection import KEY_PREFIX
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Decision, Verdict
from schemas.weighings import AuditLine, Progress, WeighingRecord

_RECORD = f"{KEY_PREFIX}weighing:"
_UNFINISHED = f"{KEY_PREFIX}unfinished"
_AUDIT = f"{KEY_PREFIX}audit"
_ALL = f"{KEY_PREFIX}weighings"
_TOKENS = f"{KEY_PREFIX}tokens"

_DAY = 86400.0  # seconds
_PRUNE_LIMIT = 1000


class Ledger:
    """Records of weighings on Redis.

    Args:
        client: Must decode responses to str, as ``bus.connection.connect`` does.
        lease: Seconds that a claim lasts without a heartbeat.
        keep_days: Days that a weighing is kept after it has ended.
    """

    def __init__(self, client: redis.Redis, lease: float, keep_days: float = 90.0) -> None:
        self._redis = client
        self._lease = _ms(lease)
        self._keep = _ms(keep_days * _DAY)
        self._open = client.register_script(transitions.OPEN)
        self._claim = client.register_script(transitions.CLAIM)
        self._renew = client.register_script(transitions.RENEW)
        self._end = client.register_script(transitions.END)
        self._decide = client.register_script(transitions.DECIDE)
        self._retry = client.register_script(transitions.RETRY)
        self._prune = client.register_script(transitions.PRUNE)
        self._release = client.register_script(transitions.RELEASE)
        self._requeue = client.register_script(transitions.REQUEUE)

    def open(self, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> bool:
        """Open a weighing, unless it is open or has ended.

        Args:
            event: The event that opens it. With ``force``, a weighing that has ended or awaits
                approval is opened again, and its old record is dropped.

        Returns:
            Whether this call opened it; then the caller must send its task.
        """
        arguments: list[str | int] = [
            str(weighing),
            gate.model_dump_json(),
            event.model_dump_json(),
            self._lease,
            int(event.force),
        ]
        return bool(self._open(keys=[*_keys(weighing), _ALL], args=arguments))

    def claim(self, weighing: WeighingId, holder: str) -> str | None:
        """Take the lease of a weighing that is queued, or whose lease has expired.

        Args:
            holder: Name of the worker.

        Returns:
            The fencing token; None if another worker holds the lease, or the weighing awaits
            approval or has ended.
        """
        arguments: list[str | int] = [str(weighing), self._lease, holder]
        token = self._claim(keys=[*_keys(weighing), _TOKENS], args=arguments)
        return cast("str | None", token)

    def renew(self, weighing: WeighingId, token: str, progress: Progress | None = None) -> bool:
        """Renew the lease, and store the progress if there is any.

        Returns:
            False if the lease was lost.
        """
        report = progress.model_dump_json() if progress else ""
        arguments: list[str | int] = [str(weighing), token, self._lease, report]
        return bool(self._renew(keys=_keys(weighing), args=arguments))

    def end(self, verdict: Verdict, token: str) -> bool:
        """Write a verdict. If it awaits approval, the weighing stops until ``decide``.

        Returns:
            False if the lease was lost; then nothing was written.
        """
        arguments: list[str | int] = [
            str(verdict.weighing),
            token,
            verdict.outcome,
            verdict.model_dump_json(),
            verdict.reason,
            self._keep,
        ]
        return bool(self._end(keys=_keys(verdict.weighing), args=arguments))

    def decide(self, weighing: WeighingId, decision: Decision) -> bool:
        """Store a person's decision, and queue the weighing for a worker to apply it.

        Returns:
            False if the weighing does not await approval; then nothing was changed.
        """
        arguments = [str(weighing), decision.model_dump_json(), str(decision)]
        return bool(self._decide(keys=_keys(weighing), args=arguments))

    def retry(self, weighing: WeighingId) -> bool:
        """Queue a failed weighing again, with its attempts reset.

        Returns:
            False if it has not failed; then nothing was changed.
        """
        return bool(self._retry(keys=_keys(weighing), args=[str(weighing)]))

    def release(self, weighing: WeighingId, token: str, delay: float, reason: str) -> bool:
        """Return a running weighing to the queue for another attempt.

        Args:
            weighing: The weighing.
            token: The fencing token.
            delay: Seconds until the sweeper sends its task.
            reason: Why the attempt failed.

        Returns:
            False if the lease was lost; then nothing was changed.
        """
        arguments: list[str | int] = [str(weighing), token, _ms(delay), reason]
        return bool(self._release(keys=_keys(weighing), args=arguments))

    def requeue(self, weighing: WeighingId, *, tasks_missing: bool) -> bool:
        """Requeue an unfinished weighing if its lease or delay has expired, or its task was lost.

        Args:
            weighing: The weighing.
            tasks_missing: There are fewer tasks than queued weighings, so its task may be lost.

        Returns:
            Whether the caller must send its task; True for one caller only.
        """
        arguments: list[str | int] = [str(weighing), self._lease, int(tasks_missing)]
        return bool(self._requeue(keys=_keys(weighing), args=arguments))

    def get(self, weighing: WeighingId) -> WeighingRecord | None:
        """Return a weighing's record; None if it was never opened."""
        fields = cast("dict[str, str]", self._redis.hgetall(record_key(weighing)))
        return _record(weighing, fields) if fields else None

    def unknown(self, weighings: Sequence[WeighingId]) -> list[WeighingId]:
        """Return those weighings that were never opened."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for weighing in weighings:
                pipeline.exists(record_key(weighing))
            return [
                one
                for one, is_known in zip(weighings, pipeline.execute(), strict=True)
                if not is_known
            ]

    def unfinished(self) -> list[WeighingId]:
        """Weighings without a verdict, the next that the sweeper must check first."""
        return self._ids(_UNFINISHED)

    def count_unfinished(self) -> int:
        """Count the weighings without a verdict."""
        return self._redis.zcard(_UNFINISHED)

    def due(self) -> list[WeighingId]:
        """Weighings without a verdict that the sweeper must check now."""
        seconds, microseconds = self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        members = cast("list[str]", self._redis.zrange(_UNFINISHED, "-inf", now, byscore=True))
        return [WeighingId.parse(text) for text in members]

    def count_queued(self) -> int:
        """Count the weighings that should have a task in the queue: not running, not delayed."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for weighing in self.unfinished():
                pipeline.hmget(record_key(weighing), "state", "waiting")
            return sum(one == ["queued", None] for one in pipeline.execute())

    def all(self) -> Iterator[WeighingRecord]:
        """All weighings that are kept, in the order of opening."""
        for weighing in self._ids(_ALL):
            if record := self.get(weighing):
                yield record

    def prune(self) -> None:
        """Remove weighings from the list whose records have expired."""
        self._prune(keys=[_ALL], args=[self._keep, _RECORD, _PRUNE_LIMIT])

    def note(self, subject: str, what: str, why: str) -> None:
        """Add a line to the audit stream that is not a transition of a weighing.

        Args:
            subject: Takes the place of a transition's weighing id.
            what: Takes the place of a transition's state.
            why: The reason.
        """
        self._redis.xadd(
            _AUDIT,
            {"id": subject, "state": what, "note": why},
            maxlen=transitions.AUDIT_LENGTH,
        )

    def audit(self) -> list[AuditLine]:
        """Lines of the audit stream, oldest first."""
        return _lines(self._redis.xrange(_AUDIT))

    def follow(self, after: str = "$", *, block: float) -> list[AuditLine]:
        """Wait for new lines of the audit stream.

        Args:
            after: The ``stream_id`` of the last line that is known; `$` is the newest line.
            block: Seconds to wait for the first new line.

        Returns:
            The new lines, oldest first; empty after a timeout.
        """
        answer: Any = self._redis.xread({_AUDIT: after}, block=_ms(block))
        return _lines(answer[0][1]) if answer else []

    def _ids(self, key: str) -> list[WeighingId]:
        members = cast("list[str]", self._redis.zrange(key, 0, -1))
        return [WeighingId.parse(text) for text in members]


def record_key(weighing: WeighingId) -> str:
    """Return the key of a weighing's record."""
    return f"{_RECORD}{weighing}"


def _keys(weighing: WeighingId) -> list[str]:
    return [record_key(weighing), _UNFINISHED, _AUDIT]


def _lines(entries: Any) -> list[AuditLine]:
    return [
        AuditLine(stream_id=number, at=_time(number.partition("-")[0]), **fields)
        for number, fields in entries
    ]


def _time(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


_TIMES = {
    "opened_at": "opened_at",
    "queued_at": "queued_at",
    "started_at": "started_at",
    "ended_at": "ended_at",
    "lease_until": "expires",
    "next_try_at": "waiting",
}


def _record(weighing: WeighingId, fields: dict[str, str]) -> WeighingRecord:
    record: dict[str, Any] = {
        "id": weighing,
        "gate": Gate.model_validate_json(fields["gate"]),
        "event": ModelVersionEvent.model_validate_json(fields["event"]),
        "state": fields["state"],
        "attempts": fields["attempts"],
        "holder": fields.get("holder", ""),
        "reason": fields.get("reason", ""),
    }
    for name, field in _TIMES.items():
        if ms := fields.get(field):
            record[name] = _time(ms)
    if progress := fields.get("progress"):
        record["progress"] = Progress.model_validate_json(progress)
    if verdict := fields.get("verdict"):
        record["verdict"] = Verdict.model_validate_json(verdict)
    if decision := fields.get("decision"):
        record["decision"] = Decision.model_validate_json(decision)
    return WeighingRecord.model_validate(record)
