import threading

import pytest
import redis

from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.weighings import Progress

_SHORT = 0.4  # seconds


@pytest.fixture
def short(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> Ledger:
    ledger = Ledger(client, lease=_SHORT)
    ledger.open(weighing, gate, event)
    return ledger


def test_a_lease_outlives_its_term_while_it_is_kept(short: Ledger, weighing: WeighingId) -> None:
    token = short.claim(weighing, "a worker")
    assert token is not None
    with Lease(short, weighing, token, _SHORT) as lease:
        threading.Event().wait(3 * _SHORT)  # the time that passes is what is tested
        assert short.claim(weighing, "a worker") is None
        lease.check()


def test_a_lost_lease_stops_the_worker_before_its_next_side_effect(
    client: redis.Redis, short: Ledger, weighing: WeighingId
) -> None:
    token = short.claim(weighing, "a worker")
    assert token is not None
    with Lease(short, weighing, token, 3600) as lease:  # its thread does not beat in time
        while short.claim(weighing, "a worker") is None:
            pass
        with pytest.raises(LeaseLostError, match="was lost"):
            lease.report(Progress(step="promote"))
        with pytest.raises(LeaseLostError):
            lease.check()


def test_nothing_beats_after_the_lease_is_left(short: Ledger, weighing: WeighingId) -> None:
    token = short.claim(weighing, "a worker")
    assert token is not None
    before = threading.active_count()
    with Lease(short, weighing, token, _SHORT):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
