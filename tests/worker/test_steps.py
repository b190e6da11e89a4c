"""The clock of a weighing, on a lease of a real ledger."""

import threading

import pytest
import redis
import structlog

from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Timings
from schemas.weighings import Progress
from worker.steps import StepClock

_MOMENT = 0.005  # seconds that a step takes
_EXPIRED = 0.001  # seconds: a lease that is over before the next command


@pytest.fixture
def lease(ledger: Ledger, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> Lease:
    ledger.open(weighing, gate, event)
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    return Lease(ledger, weighing, token, 60)


@pytest.fixture
def lost(client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> Lease:
    """A lease that another worker has taken over, of which this one does not know yet."""
    ledger = Ledger(client, _EXPIRED)
    ledger.open(weighing, gate, event)
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    while ledger.claim(weighing, "a worker") is None:
        pass
    return Lease(ledger, weighing, token, 60)


def _progress(ledger: Ledger, weighing: WeighingId) -> Progress | None:
    record = ledger.get(weighing)
    assert record is not None
    return record.progress


def _work() -> None:
    threading.Event().wait(_MOMENT)  # the time that passes is what is tested


def test_each_step_is_timed_and_a_step_that_did_not_run_is_zero(lease: Lease) -> None:
    clock = StepClock(lease)
    assert clock.seconds == Timings()
    for step in ("download", "weigh"):
        with clock.step(step):
            _work()
    assert min(clock.seconds.download, clock.seconds.weigh) > 0
    assert (clock.seconds.rebuild, clock.seconds.evaluate, clock.seconds.promote) == (0, 0, 0)


def test_a_step_that_fails_is_timed_too(lease: Lease) -> None:
    def fail(clock: StepClock) -> None:
        with clock.step("rebuild"):
            _work()
            raise ZeroDivisionError

    clock = StepClock(lease)
    with pytest.raises(ZeroDivisionError):
        fail(clock)
    assert clock.seconds.rebuild > 0


def test_the_running_step_is_in_the_ledger(
    lease: Lease, ledger: Ledger, weighing: WeighingId
) -> None:
    clock = StepClock(lease)
    with clock.step("rebuild"):
        assert _progress(ledger, weighing) == Progress(step="rebuild")
        clock.report("merging the adapter")
        assert _progress(ledger, weighing) == Progress(step="rebuild", detail="merging the adapter")
    with clock.step("evaluate"):
        assert _progress(ledger, weighing) == Progress(step="evaluate")


def test_a_counter_reports_done_total_and_metrics(
    lease: Lease, ledger: Ledger, weighing: WeighingId
) -> None:
    clock = StepClock(lease)
    with clock.step("evaluate"):
        count = clock.counter(60)
        count({})
        assert _progress(ledger, weighing) == Progress(step="evaluate", done=1, total=60)
        means = {"right.mean": 0.5}
        count(means)
        progress = Progress(step="evaluate", done=2, total=60, metrics=means)
        assert _progress(ledger, weighing) == progress


def test_on_progress_receives_every_report(lease: Lease) -> None:
    seen: list[Progress] = []
    clock = StepClock(lease, seen.append)
    with clock.step("rebuild"):
        clock.report("merging the adapter")
    with clock.step("evaluate"):
        clock.counter(60)({})
    assert seen == [
        Progress(step="rebuild"),
        Progress(step="rebuild", detail="merging the adapter"),
        Progress(step="evaluate"),
        Progress(step="evaluate", done=1, total=60),
    ]


def test_details_are_logged_and_counts_are_not(lease: Lease) -> None:
    clock = StepClock(lease)
    with structlog.testing.capture_logs() as logged, clock.step("rebuild"):
        clock.report("merging the adapter")
        clock.counter(60)({})
    said = [(line["event"], line.get("detail")) for line in logged]
    assert said == [
        ("step begins", None),
        ("progress", "merging the adapter"),
        ("step ended", None),
    ]


def test_without_the_lease_a_step_does_not_begin(
    lost: Lease, ledger: Ledger, weighing: WeighingId
) -> None:
    clock, begun = StepClock(lost), []
    with pytest.raises(LeaseLostError, match="was lost"), clock.step("promote"):
        begun.append("promote")
    assert begun == []
    assert clock.seconds == Timings()
    assert _progress(ledger, weighing) is None


def test_without_the_lease_no_side_effect_and_no_report_is_allowed(lost: Lease) -> None:
    clock = StepClock(lost)
    with pytest.raises(LeaseLostError):
        clock.counter(60)({})
    with pytest.raises(LeaseLostError):
        clock.check()
