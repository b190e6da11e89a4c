from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.settings import Settings
from schemas.weighings import WeighingRecord
from worker.backoff import next_delay

_START = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def record(weighing: WeighingId, gate: Gate, event: ModelVersionEvent) -> WeighingRecord:
    return WeighingRecord(
        id=weighing,
        gate=gate,
        event=event,
        state="running",
        attempts=1,
        opened_at=_START,
        queued_at=_START,
    )


def _after(record: WeighingRecord, attempts: int) -> WeighingRecord:
    return record.model_copy(update={"attempts": attempts})


def test_each_delay_is_twice_the_one_before_up_to_a_limit(record: WeighingRecord) -> None:
    settings = Settings(retry_delay=10, max_retry_delay=60)
    for attempts, full in enumerate([10, 20, 40, 60, 60], start=1):
        delays = [next_delay(_after(record, attempts), settings, _START) for _ in range(200)]
        assert all(delay is not None and full / 2 <= delay <= full for delay in delays)


def test_attempts_that_failed_together_are_not_retried_together(record: WeighingRecord) -> None:
    delays = {next_delay(record, Settings(), _START) for _ in range(50)}
    assert len(delays) == 50


def test_the_last_attempt_is_not_retried(record: WeighingRecord) -> None:
    settings = Settings(max_attempts=3)
    assert next_delay(_after(record, 2), settings, _START) is not None
    assert next_delay(_after(record, 3), settings, _START) is None


def test_a_weighing_that_is_too_old_is_not_retried(record: WeighingRecord) -> None:
    settings = Settings(max_age=3600)
    assert next_delay(record, settings, _START + timedelta(minutes=50)) is not None
    assert next_delay(record, settings, _START + timedelta(minutes=61)) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it is frozen
@given(attempts=st.integers(1, 10_000))
def test_a_delay_is_never_longer_than_allowed(record: WeighingRecord, attempts: int) -> None:
    patient = Settings(max_attempts=10_001)
    delay = next_delay(_after(record, attempts), patient, _START)
    assert delay is not None
    assert 0 < delay <= patient.max_retry_delay
