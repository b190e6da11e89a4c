"""A worker whose weighings only wait: everything else about it is real.

`python -m bench.events.stand_in_worker` serves both queues until SIGTERM. What a weighing waits for
takes minutes on a GPU; here it takes `WORK_S`, so that what the bus costs shows.
"""

import time

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from bus.ledger import Ledger
from schemas.verdicts import Verdict
from schemas.weighings import WeighingRecord
from worker import main, tasks
from worker.steps import StepClock

WORK_S = 0.02  # seconds


def _wait(ledger: Ledger, record: WeighingRecord, clock: StepClock) -> Verdict:
    time.sleep(WORK_S)
    return Verdict(weighing=record.id, source="manual", outcome="rejected", reason="measured")


if __name__ == "__main__":
    tasks._run = _wait
    main._end_engine = lambda: None
    main.run_worker([EVENTS_QUEUE, GPU_QUEUE])
