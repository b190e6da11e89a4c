"""What must hold at the end of a run. Each check yields a sentence per failure."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
import wandb
from wandb.errors import CommError

from bus.celery_app import GPU_QUEUE, queue_keys
from bus.connection import KEY_PREFIX
from registry.tags import verdict_tag
from schemas.weighings import WeighingRecord
from tests.chaos.dataset import GATE, METRIC, QUESTIONS, question, right_answer
from tests.chaos.environment import ALIAS, Environment
from tests.chaos.progress import FINAL_STATES, LinkedVersion

_TYPE = "model"

# Keys without an expiry: there is one of each. A queue's key disappears with its last message, and
# a worker may have sent one to its queue just now.
_PERMANENT = re.compile(
    f"{KEY_PREFIX}(weighings|unfinished|audit|tokens|gates:.*|events"
    "|unacked|unacked_index|_kombu.binding_deadlines)"
    f"|{'|'.join(map(re.escape, queue_keys(GPU_QUEUE)))}"
)

Check = Callable[[Environment, Sequence[LinkedVersion]], Iterator[str]]


def failed_checks(environment: Environment, linked: Sequence[LinkedVersion]) -> list[str]:
    """Run every check and return its failures."""
    return [failure for check in CHECKS for failure in check(environment, linked)]


def every_linked_version_is_weighed(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The ledger knows exactly the versions that were linked."""
    weighed = {one.id for one in environment.ledger.all()}
    expected = {one.weighing for one in linked}
    yield from (f"{one} was linked and never weighed" for one in expected - weighed)
    yield from (f"{one} was weighed and never linked" for one in weighed - expected)


def each_verdict_is_right(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """Each verdict's outcome and score follow from the version's own answers."""
    for one in linked:
        record = environment.ledger.get(one.weighing)
        if record is None or not record.ended:
            now = f"{datetime.now(UTC):%H:%M:%S}"
            yield f"{one.version} has no verdict at {now}: {_progress(record)}"
        elif (result := _result(record)) != (one.outcome, one.score):
            yield f"{one.version} must be {one.outcome} with {one.score}, and is {result}"


def _progress(record: WeighingRecord | None) -> str:
    if record is None:
        return "it has no record"
    shown = {"attempts", "holder", "lease_until", "next_try_at", "progress", "queued_at", "state"}
    return record.model_dump_json(include=shown)


def _result(record: WeighingRecord) -> tuple[str, Any]:
    checks = record.verdict.checks if record.verdict else ()
    found = [check.value for check in checks if check.metric == METRIC]
    return record.state, found[0] if found else record.reason


def each_version_gave_its_own_answers(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The rows behind a verdict come from that version: no two versions know the same answers."""
    calls = {one: call for one in linked if (call := _call(environment.ledger.get(one.weighing)))}
    path = environment.folder / "answers.json"
    environment.programs.run(
        "read answers", ["-m", "tests.chaos.read_answers", str(path), *calls.values()]
    )
    answers: dict[str, dict[str, str]] = json.loads(path.read_text())
    for one, call in calls.items():
        given = tuple(
            answers[call].get(question(number)) == right_answer(number)
            for number in range(QUESTIONS)
        )
        if given != one.known:
            yield f"{one.version} knows {one.known}, and {given} was evaluated"


def _call(record: WeighingRecord | None) -> str | None:
    evidence = record.verdict.evidence if record and record.verdict else None
    return evidence.weave_call if evidence else None


def each_version_has_one_verdict(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The audit stream has one verdict for each weighing."""
    ends = Counter(line.id for line in environment.ledger.audit() if line.state in FINAL_STATES)
    yield from (f"{one} has {count} verdicts" for one, count in ends.items() if count != 1)


def each_promoted_version_was_promoted_once(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """The target collection has one version for each, which refers to one RagModel version."""
    promotions = Counter(version.metadata.get("chat_model") for version in _promoted(environment))
    expected = {one.weighing.version.uri for one in linked if one.outcome == "promoted"}
    for uri in expected | promotions.keys():
        if (uri in expected) != promotions[uri]:
            yield f"{uri} was promoted {promotions[uri]} times"
    for version in _promoted(environment):
        if len(version.manifest.entries) != 1:
            yield f"{version.qualified_name} has {len(version.manifest.entries)} references"


def the_champions_form_one_chain(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """From the version with the alias, each one names the previous champion, back to the first."""
    # ``version`` of a listed version is its number in the collection that it was logged to.
    project = environment.target.rpartition("/")[0]
    promoted = {f"{project}/{one.name}": one for one in _promoted(environment)}
    previous = {name: one.metadata.get("champion") for name, one in promoted.items()}
    at = next((name for name, one in promoted.items() if ALIAS in one.aliases), None)
    chain: list[str] = []
    while at is not None and at not in chain:
        chain.append(at)
        at = previous.get(at)
    if at is not None or previous.keys() != set(chain):
        order = ", ".join(f"{one} after {previous[one]}" for one in sorted(previous))
        yield f"the champions form no chain: {order}; followed: {', '.join(chain)}"


def each_version_has_its_verdict_tag(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """A version has the tag of its verdict and no other one of Weighbridge."""
    for one in linked:
        tags = {tag for tag in environment.api.artifact(one.version).tags if "weighbridge" in tag}
        if tags != {verdict_tag(GATE, one.outcome)}:
            yield f"{one.version} has the tags {sorted(tags)}"


def nothing_is_left_on_redis(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """No lease, waiting event or promotion lock, and only permanent keys without an expiry."""
    yield from (f"{one} has no verdict" for one in environment.ledger.unfinished())
    yield from (f"the event {one} was never dispatched" for one in environment.inbox.waiting())
    with redis.Redis.from_url(environment.redis.url, decode_responses=True) as client:
        for key in client.scan_iter():
            if str(key).startswith(f"{KEY_PREFIX}turn:"):
                yield f"{key} is still held"
            if client.ttl(key) == -1 and not _PERMANENT.fullmatch(str(key)):
                yield f"the key {key} has no expiry"


def no_process_died_by_itself(
    environment: Environment, linked: Sequence[LinkedVersion]
) -> Iterator[str]:
    """Every process survives the loss of its connections."""
    for name, count in environment.supervisor.deaths.items():
        yield f"{name} died by itself, {count} times"


CHECKS: tuple[Check, ...] = (
    every_linked_version_is_weighed,
    each_verdict_is_right,
    each_version_gave_its_own_answers,
    each_version_has_one_verdict,
    each_promoted_version_was_promoted_once,
    the_champions_form_one_chain,
    each_version_has_its_verdict_tag,
    nothing_is_left_on_redis,
    no_process_died_by_itself,
)


def _promoted(environment: Environment) -> list[wandb.Artifact]:
    try:
        return list(environment.api.artifact_collection(_TYPE, environment.target).artifacts())
    except CommError:  # the first promotion creates the collection
        return []
