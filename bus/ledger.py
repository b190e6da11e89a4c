"""The ledger: one record per weighing, and the only place that decides who may work on it.

A weighing goes `queued → running → promoted | rejected | failed`. Where its gate requires approval
it stops at `awaiting approval`, and a person's decision sends it round once more. Its identity is
(gate, collection, version number), so the same version by three roads is one record. Delivery by
the broker is at least once; the ledger makes it once.
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
_PRUNED_AT_ONCE = 1000


class Ledger:
    """Records of weighings on Redis.

    Args:
        client: decodes responses to str, as `bus.connection.connect` makes it.
        lease: seconds that a claim lasts without a heartbeat.
        keep_days: days that a weighing is kept after it has ended.
    """

    def __init__(self, client: redis.Redis, lease: float, keep_days: float = 90.0) -> None:
        self._redis = client
        self._lease = _ms(lease)
        self._keep = _ms(keep_days * _DAY)
        self._open = client.register_script(transitions.OPEN)
        self._claim = client.register_script(transitions.CLAIM)
        self._beat = client.register_script(transitions.BEAT)
        self._end = client.register_script(transitions.END)
        self._decide = client.register_script(transitions.DECIDE)
        self._retry = client.register_script(transitions.RETRY)
        self._prune = client.register_script(transitions.PRUNE)
        self._release = client.register_script(transitions.RELEASE)
        self._revive = client.register_script(transitions.REVIVE)

    def open(self, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> bool:
        """Open a weighing, once.

        Args:
            event: where it came from; with `force`, a weighing that has ended or awaits approval
                is opened again, and what was known of it is dropped.

        Returns:
            Whether this call opened it, and so whether its task must be sent.
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
        """Take the lease of a weighing that is queued, or whose lease ran out.

        Args:
            holder: name of the worker.

        Returns:
            The fencing token, or None when somebody else has it, it awaits approval, or it has
            ended.
        """
        arguments: list[str | int] = [str(weighing), self._lease, holder]
        token = self._claim(keys=[*_keys(weighing), _TOKENS], args=arguments)
        return cast("str | None", token)

    def renew(self, weighing: WeighingId, token: str, progress: Progress | None = None) -> bool:
        """Renew the lease, and tell how far the work is.

        Returns:
            False when the lease is no longer this worker's.
        """
        news = progress.model_dump_json() if progress else ""
        arguments: list[str | int] = [str(weighing), token, self._lease, news]
        return bool(self._beat(keys=_keys(weighing), args=arguments))

    def end(self, verdict: Verdict, token: str) -> bool:
        """Write the final verdict.

        Returns:
            False when the lease is no longer this worker's; then nothing was written.
        """
        return self._write(verdict, token)

    def suspend(self, verdict: Verdict, token: str) -> bool:
        """Write a verdict that awaits approval: no worker touches the weighing until `decide`.

        Returns:
            False when the lease is no longer this worker's; then nothing was written.
        """
        return self._write(verdict, token)

    def decide(self, weighing: WeighingId, decision: Decision) -> bool:
        """Store what a person decided, and queue the weighing for a worker to carry it out.

        Returns:
            False when the weighing does not await approval; then nothing was changed.
        """
        arguments = [str(weighing), decision.model_dump_json(), str(decision)]
        return bool(self._decide(keys=_keys(weighing), args=arguments))

    def retry(self, weighing: WeighingId) -> bool:
        """Queue a weighing that has failed, with all its attempts before it.

        Returns:
            False when it has not failed; then nothing was changed.
        """
        return bool(self._retry(keys=_keys(weighing), args=[str(weighing)]))

    def release(self, weighing: WeighingId, token: str, delay: float, reason: str) -> bool:
        """Give the weighing back to the queue, to be tried again.

        Args:
            delay: seconds until the sweeper sends it again.
        """
        arguments: list[str | int] = [str(weighing), token, _ms(delay), reason]
        return bool(self._release(keys=_keys(weighing), args=arguments))

    def requeue(self, weighing: WeighingId, *, tasks_missing: bool) -> bool:
        """Whether the task of an unfinished weighing must be sent again; one caller is told.

        Args:
            tasks_missing: fewer tasks wait than weighings, so a queued one may have lost its own.
        """
        arguments: list[str | int] = [str(weighing), self._lease, int(tasks_missing)]
        return bool(self._revive(keys=_keys(weighing), args=arguments))

    def get(self, weighing: WeighingId) -> WeighingRecord | None:
        """The record, or None when this version was never opened under this gate."""
        fields = cast("dict[str, str]", self._redis.hgetall(record_key(weighing)))
        return _weighing(weighing, fields) if fields else None

    def unknown(self, weighings: Sequence[WeighingId]) -> list[WeighingId]:
        """Those of them that were never opened."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for weighing in weighings:
                pipeline.exists(record_key(weighing))
            return [
                one
                for one, is_known in zip(weighings, pipeline.execute(), strict=True)
                if not is_known
            ]

    def unfinished(self) -> list[WeighingId]:
        """Weighings without a verdict, those first that are due first."""
        return self._ids(_UNFINISHED)

    def count_unfinished(self) -> int:
        """How many weighings have no verdict yet."""
        return self._redis.zcard(_UNFINISHED)

    def due(self) -> list[WeighingId]:
        """Weighings without a verdict that the sweeper must look at now."""
        seconds, microseconds = self._redis.time()
        now = seconds * 1000 + microseconds // 1000
        members = cast("list[str]", self._redis.zrange(_UNFINISHED, "-inf", now, byscore=True))
        return [WeighingId.parse(text) for text in members]

    def queued(self) -> int:
        """How many weighings should have a task in the queue: none runs them, none is delayed."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for weighing in self.unfinished():
                pipeline.hmget(record_key(weighing), "state", "waiting")
            return sum(one == ["queued", None] for one in pipeline.execute())

    def all(self) -> Iterator[WeighingRecord]:
        """Every weighing that is kept, in the order of opening."""
        for weighing in self._ids(_ALL):
            if record := self.get(weighing):
                yield record

    def prune(self) -> None:
        """Take weighings out of the list whose records were not kept any longer."""
        self._prune(keys=[_ALL], args=[self._keep, _RECORD, _PRUNED_AT_ONCE])

    def note(self, subject: str, what: str, why: str) -> None:
        """Add a line to the audit stream about what is no transition of a weighing.

        Args:
            subject: stands where a transition has the weighing's id.
            what: stands where a transition has the state.
        """
        self._redis.xadd(
            _AUDIT,
            {"id": subject, "state": what, "note": why},
            maxlen=transitions.AUDIT_LENGTH,
        )

    def audit(self) -> list[AuditLine]:
        """The lines that the audit stream still holds, oldest first."""
        return _lines(self._redis.xrange(_AUDIT))

    def follow(self, after: str = "$", *, block: float) -> list[AuditLine]:
        """The lines that are written to the audit stream after a line.

        Args:
            after: `stream_id` of that line; `$` is the last one that there is.
            block: seconds to wait for the first one.

        Returns:
            Oldest first; none when the time is over.
        """
        answer: Any = self._redis.xread({_AUDIT: after}, block=_ms(block))
        return _lines(answer[0][1]) if answer else []

    def _write(self, verdict: Verdict, token: str) -> bool:
        arguments: list[str | int] = [
            str(verdict.weighing),
            token,
            verdict.outcome,
            verdict.model_dump_json(),
            verdict.reason,
            self._keep,
        ]
        return bool(self._end(keys=_keys(verdict.weighing), args=arguments))

    def _ids(self, key: str) -> list[WeighingId]:
        members = cast("list[str]", self._redis.zrange(key, 0, -1))
        return [WeighingId.parse(text) for text in members]


def record_key(weighing: WeighingId) -> str:
    """The key of a weighing's record."""
    return f"{_RECORD}{weighing}"


def _keys(weighing: WeighingId) -> list[str]:
    return [record_key(weighing), _UNFINISHED, _AUDIT]


def _lines(entries: Any) -> list[AuditLine]:
    return [
        AuditLine(stream_id=number, at=_moment(number.partition("-")[0]), **fields)
        for number, fields in entries
    ]


def _moment(ms: str) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


_MOMENTS = {
    "opened_at": "opened_at",
    "queued_at": "queued_at",
    "started_at": "started_at",
    "ended_at": "ended_at",
    "lease_until": "expires",
    "next_try_at": "waiting",
}


def _weighing(weighing: WeighingId, fields: dict[str, str]) -> WeighingRecord:
    record: dict[str, Any] = {
        "id": weighing,
        "gate": Gate.model_validate_json(fields["gate"]),
        "event": ModelVersionEvent.model_validate_json(fields["event"]),
        "state": fields["state"],
        "attempts": fields["attempts"],
        "holder": fields.get("holder", ""),
        "reason": fields.get("reason", ""),
    }
    for name, field in _MOMENTS.items():
        if moment := fields.get(field):
            record[name] = _moment(moment)
    if progress := fields.get("progress"):
        record["progress"] = Progress.model_validate_json(progress)
    if verdict := fields.get("verdict"):
        record["verdict"] = Verdict.model_validate_json(verdict)
    if decision := fields.get("decision"):
        record["decision"] = Decision.model_validate_json(decision)
    return WeighingRecord.model_validate(record)
