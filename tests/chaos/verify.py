"""What must hold when the chaos is over. Each check answers with what is off."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
import wandb
from pydantic import BaseModel, ConfigDict
from wandb.errors import CommError

from bus.celery_app import GPU_QUEUE, queue_keys
from bus.connection import KEY_PREFIX
from registry.tags import verdict_tag
from schemas.events import WeighingId
from schemas.refs import ArtifactRef
from schemas.verdicts import Outcome
from schemas.weighings import WeighingRecord
from tests.chaos.exam import GATE, METRIC, PASS_MARK, QUESTIONS, question, right_answer
from tests.chaos.stage import ALIAS, Stage

_TYPE = "model"

# What has no end on Redis, because there is one of each; a queue is gone when it is empty, and the
# beat's tasks may be in theirs at any time.
_ENDLESS = re.compile(
    f"{KEY_PREFIX}(weighings|unfinished|audit|tokens|gates:.*|events"
    "|unacked|unacked_index|_kombu.binding_deadlines)"
    f"|{'|'.join(map(re.escape, queue_keys(GPU_QUEUE)))}"
)


class LinkedVersion(BaseModel):
    """What a pusher says of a version.

    Attributes:
        version: its name in the Registry.
        known: for each question of the exam whether it knows the answer.
        linked_at: seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    known: tuple[bool, ...]
    linked_at: float

    @property
    def weighing(self) -> WeighingId:
        """Of the version."""
        return WeighingId.of(GATE, ArtifactRef.parse(self.version))

    @property
    def score(self) -> float:
        """What its evaluation must find."""
        return sum(self.known) / len(self.known)

    @property
    def outcome(self) -> Outcome:
        """What its verdict must be."""
        return "promoted" if self.score >= PASS_MARK else "rejected"


Check = Callable[[Stage, Sequence[LinkedVersion]], Iterator[str]]


def faults_found(stage: Stage, linked: Sequence[LinkedVersion]) -> list[str]:
    """Everything that is off, as sentences; empty when all is well."""
    return [fault for check in CHECKS for fault in check(stage, linked)]


def every_linked_version_is_weighed(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """The ledger knows exactly the versions that were linked."""
    known, wanted = {one.id for one in stage.ledger.all()}, {one.weighing for one in linked}
    yield from (f"{one} was linked and never weighed" for one in wanted - known)
    yield from (f"{one} was weighed and never linked" for one in known - wanted)


def each_verdict_is_right(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """Outcome and score are those of the version's own answers."""
    for one in linked:
        record = stage.ledger.get(one.weighing)
        if record and (said := _said(record)) != (one.outcome, one.score):
            yield f"{one.version} must be {one.outcome} with {one.score}, and is {said}"


def _said(record: WeighingRecord) -> tuple[str, Any]:
    checks = record.verdict.checks if record.verdict else ()
    found = [check.value for check in checks if check.metric == METRIC]
    return record.state, found[0] if found else record.reason


def each_version_gave_its_own_answers(
    stage: Stage, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The rows behind a verdict are of that version: no two versions know the same."""
    calls = {one: call for one in linked if (call := _call(stage.ledger.get(one.weighing)))}
    path = stage.folder / "answers.json"
    stage.pushers.run("examiner", ["-m", "tests.chaos.examiner", str(path), *calls.values()])
    answers: dict[str, dict[str, str]] = json.loads(path.read_text())
    for one, call in calls.items():
        given = tuple(
            answers[call].get(question(number)) == right_answer(number)
            for number in range(QUESTIONS)
        )
        if given != one.known:
            yield f"{one.version} knows {one.known}, and {given} was weighed"


def _call(record: WeighingRecord | None) -> str | None:
    evidence = record.verdict.evidence if record and record.verdict else None
    return evidence.weave_call if evidence else None


def each_version_has_one_verdict(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """The audit stream has one end of each weighing."""
    ends = Counter(
        line.id for line in stage.ledger.audit() if line.state in ("promoted", "rejected", "failed")
    )
    yield from (f"{one} has {count} verdicts" for one, count in ends.items() if count != 1)


def each_promoted_version_was_promoted_once(
    stage: Stage, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The target collection has one version for each, and it refers to one RagModel version."""
    promotions = Counter(version.metadata.get("chat_model") for version in _promoted(stage))
    wanted = {one.weighing.version.uri for one in linked if one.outcome == "promoted"}
    for uri in wanted | promotions.keys():
        if (uri in wanted) != promotions[uri]:
            yield f"{uri} was promoted {promotions[uri]} times"
    for version in _promoted(stage):
        if len(version.manifest.entries) != 1:
            yield f"{version.qualified_name} has {len(version.manifest.entries)} references"


def the_champions_are_one_chain(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """From the holder of the alias, each record names the champion before, back to the first."""
    promoted = _promoted(stage)
    before = {f"{stage.target}:{one.version}": one.metadata.get("champion") for one in promoted}
    at = next((f"{stage.target}:{one.version}" for one in promoted if ALIAS in one.aliases), None)
    chain: list[str] = []
    while at is not None and at not in chain:
        chain.append(at)
        at = before.get(at)
    if at is not None or before.keys() != set(chain):
        told = ", ".join(f"{one} after {before[one]}" for one in sorted(before))
        yield f"the champions are no chain: {told}; followed: {', '.join(chain)}"


def each_version_has_its_verdict_tag(
    stage: Stage, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """And no other one of ours."""
    for one in linked:
        tags = {tag for tag in stage.api.artifact(one.version).tags if "weighbridge" in tag}
        if tags != {verdict_tag(GATE, one.outcome)}:
            yield f"{one.version} has the tags {sorted(tags)}"


def nobody_holds_anything(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """No lease, no waiting event, no turn, and no key without an end but those that may stay."""
    yield from (f"{one} has no verdict" for one in stage.ledger.unfinished())
    yield from (f"the event {one} was never dispatched" for one in stage.inbox.waiting())
    with redis.Redis.from_url(stage.redis.url, decode_responses=True) as client:
        for key in client.scan_iter():
            if str(key).startswith(f"{KEY_PREFIX}turn:"):
                yield f"{key} is still somebody's"
            if client.ttl(key) == -1 and not _ENDLESS.fullmatch(str(key)):
                yield f"the key {key} has no end"


def nobody_ended_by_itself(stage: Stage, linked: Sequence[LinkedVersion]) -> Iterator[str]:
    """Every process survives the loss of its connections."""
    for name, count in stage.supervisor.deaths.items():
        yield f"{name} ended by itself, {count} times"


CHECKS: tuple[Check, ...] = (
    every_linked_version_is_weighed,
    each_verdict_is_right,
    each_version_gave_its_own_answers,
    each_version_has_one_verdict,
    each_promoted_version_was_promoted_once,
    the_champions_are_one_chain,
    each_version_has_its_verdict_tag,
    nobody_holds_anything,
    nobody_ended_by_itself,
)


def _promoted(stage: Stage) -> list[wandb.Artifact]:
    try:
        return list(stage.api.artifact_collection(_TYPE, stage.target).artifacts())
    except CommError:  # the first promotion makes the collection
        return []
