"""The ledger: one record per weighing, and the only place that decides who may work on it.

A weighing goes `queued → running → promoted | rejected | failed`. Where its gate requires approval
it stops at `awaiting approval`, and a person's decision sends it round once more. Its identity is
(gate, collection, version number), so the same version by three roads is one record. Delivery by
the broker is at least once; the ledger makes it once.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import redis

from bus import transitions
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Decision, Verdict
from schemas.weighings import Progress, Weighing

_NAMESPACE = "weighbridge:"
_UNFINISHED = f"{_NAMESPACE}unfinished"
_AUDIT = f"{_NAMESPACE}audit"
_ALL = f"{_NAMESPACE}weighings"
_TOKENS = f"{_NAMESPACE}tokens"


class Ledger:
    """Records of weighings on Redis.

    Args:
        client: decodes responses to str, as `bus.connection.connect` makes it.
        lease: seconds that a claim lasts without a heartbeat.
    """

    def __init__(self, client: redis.Redis, lease: float) -> None:
        self._redis = client
        self._lease = _ms(lease)
        self._open = client.register_script(transitions.OPEN)
        self._claim = client.register_script(transitions.CLAIM)
        self._beat = client.register_script(transitions.BEAT)
        self._end = client.register_script(transitions.END)
        self._decide = client.register_script(transitions.DECIDE)
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

    def claim(self, weighing: WeighingId) -> str | None:
        """Take the lease of a weighing that is queued, or whose lease ran out.

        Returns:
            The fencing token, or None when somebody else has it, it awaits approval, or it has
            ended.
        """
        token = self._claim(keys=[*_keys(weighing), _TOKENS], args=[str(weighing), self._lease])
        return cast("str | None", token)

    def beat(self, weighing: WeighingId, token: str, progress: Progress | None = None) -> bool:
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

    def release(self, weighing: WeighingId, token: str, delay: float, reason: str) -> bool:
        """Give the weighing back to the queue, to be tried again.

        Args:
            delay: seconds until the sweeper sends it again.
        """
        arguments: list[str | int] = [str(weighing), token, _ms(delay), reason]
        return bool(self._release(keys=_keys(weighing), args=arguments))

    def revive(self, weighing: WeighingId, *, queue_empty: bool) -> bool:
        """Whether the task of an unfinished weighing must be sent again; one caller is told.

        Args:
            queue_empty: no task waits in the queue, so a queued weighing has lost its own.
        """
        arguments: list[str | int] = [str(weighing), self._lease, int(queue_empty)]
        return bool(self._revive(keys=_keys(weighing), args=arguments))

    def get(self, weighing: WeighingId) -> Weighing | None:
        """The record, or None when this version was never opened under this gate."""
        fields = cast("dict[str, str]", self._redis.hgetall(_record(weighing)))
        return _weighing(weighing, fields) if fields else None

    def knows(self, weighing: WeighingId) -> bool:
        """Whether this version was ever opened under this gate."""
        return bool(self._redis.exists(_record(weighing)))

    def unfinished(self) -> list[WeighingId]:
        """Weighings without a verdict, those first that are due first."""
        return self._ids(_UNFINISHED)

    def all(self) -> Iterator[Weighing]:
        """Every weighing, in the order of opening."""
        for weighing in self._ids(_ALL):
            if record := self.get(weighing):
                yield record

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

    def audit(self) -> list[dict[str, str]]:
        """The lines that the audit stream still holds, oldest first: id, state, note."""
        entries = cast("list[tuple[str, dict[str, str]]]", self._redis.xrange(_AUDIT))
        return [fields for _, fields in entries]

    def _write(self, verdict: Verdict, token: str) -> bool:
        arguments: list[str | int] = [
            str(verdict.weighing),
            token,
            verdict.outcome,
            verdict.model_dump_json(),
            verdict.reason,
        ]
        return bool(self._end(keys=_keys(verdict.weighing), args=arguments))

    def _ids(self, key: str) -> list[WeighingId]:
        members = cast("list[str]", self._redis.zrange(key, 0, -1))
        return [WeighingId.parse(text) for text in members]


def _record(weighing: WeighingId) -> str:
    return f"{_NAMESPACE}weighing:{weighing}"


def _keys(weighing: WeighingId) -> list[str]:
    return [_record(weighing), _UNFINISHED, _AUDIT]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _weighing(weighing: WeighingId, fields: dict[str, str]) -> Weighing:
    record: dict[str, Any] = {
        "id": weighing,
        "gate": Gate.model_validate_json(fields["gate"]),
        "event": ModelVersionEvent.model_validate_json(fields["event"]),
        "state": fields["state"],
        "attempts": fields["attempts"],
        "opened_at": datetime.fromtimestamp(int(fields["opened_at"]) / 1000, UTC),
    }
    if progress := fields.get("progress"):
        record["progress"] = Progress.model_validate_json(progress)
    if verdict := fields.get("verdict"):
        record["verdict"] = Verdict.model_validate_json(verdict)
    if decision := fields.get("decision"):
        record["decision"] = Decision.model_validate_json(decision)
    return Weighing.model_validate(record)
