import threading
from pathlib import Path

import pytest
import redis

from bus.connection import connect
from bus.lease import Lease, LeaseLostError
from bus.ledger import Ledger
from rehearsal.redis_server import RedisServer
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.verdicts import Verdict
from schemas.weighings import Progress

_SHORT = 0.4  # seconds
_LONGER = 2.0  # seconds; a process on a busy machine may not run for one


@pytest.fixture
def short(
    client: redis.Redis, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> Ledger:
    ledger = Ledger(client, lease=_SHORT)
    ledger.open(weighing, gate, event)
    return ledger


def _heartbeats() -> int:
    return sum(thread.name == "lease" for thread in threading.enumerate())


def test_a_lease_lasts_while_it_is_renewed(
    client: redis.Redis, short: Ledger, weighing: WeighingId
) -> None:
    ledger = Ledger(client, lease=_LONGER)
    token = ledger.claim(weighing, "a worker")
    assert token is not None
    with Lease(ledger, weighing, token, _LONGER) as lease:
        threading.Event().wait(1.5 * _LONGER)  # the time that passes is what is tested
        assert ledger.claim(weighing, "a worker") is None
        lease.check()


def test_a_lost_lease_stops_the_worker_before_its_next_side_effect(
    client: redis.Redis, short: Ledger, weighing: WeighingId
) -> None:
    token = short.claim(weighing, "a worker")
    assert token is not None
    with Lease(short, weighing, token, 3600) as lease:  # its thread does not renew in time
        while short.claim(weighing, "a worker") is None:
            pass
        with pytest.raises(LeaseLostError, match="was lost"):
            lease.report(Progress(step="promote"))
        with pytest.raises(LeaseLostError):
            lease.check()


def test_the_heartbeat_stops_with_the_block(short: Ledger, weighing: WeighingId) -> None:
    token = short.claim(weighing, "a worker")
    assert token is not None
    with Lease(short, weighing, token, _SHORT):
        assert _heartbeats() == 1
    assert _heartbeats() == 0


def test_a_verdict_is_written_when_redis_is_back_within_the_lease(
    tmp_path: Path, weighing: WeighingId, gate: Gate, event: ModelVersionEvent
) -> None:
    verdict = Verdict(weighing=weighing, source="manual", outcome="rejected", reason="because")
    with RedisServer(tmp_path) as server, connect(server.url) as client:
        ledger = Ledger(client, lease=60)
        ledger.open(weighing, gate, event)
        token = ledger.claim(weighing, "a worker")
        assert token is not None
        with Lease(ledger, weighing, token, 60) as lease:
            server.kill()
            with pytest.raises(redis.ConnectionError):
                ledger.end(verdict, token)
            back = threading.Timer(1.5, server.start)
            back.start()
            try:
                assert lease.retry_write(lambda: ledger.end(verdict, token))
            finally:
                back.join()  # else it would start a Redis that nobody ends
        record = ledger.get(weighing)
    assert record is not None
    assert record.verdict == verdict


def test_a_write_is_retried_for_one_lease_at_most(tmp_path: Path, weighing: WeighingId) -> None:
    with RedisServer(tmp_path) as server, connect(server.url) as client:
        ledger = Ledger(client, lease=_SHORT)
        server.kill()
        lease = Lease(ledger, weighing, "1", _SHORT)
        with pytest.raises(redis.ConnectionError):
            lease.retry_write(lambda: ledger.retry(weighing))
