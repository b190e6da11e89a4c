"""A real worker whose weighings only wait.

``python -m bench.events.stub_worker`` serves both queues until SIGTERM. A weighing takes
minutes on a GPU; here it takes ``WORK_S``, so that the cost of the bus becomes visible.
"""

import time

from bus.celery_app import EVENTS_QUEUE, GPU_QUEUE
from bus.ledger import Ledger
from schemas.verdicts import Verdict
from schemas.weighings import WeighingRecord
from worker import main, tasks
from worker.steps import StepClock

WORK_S = 0.02  # seconds per weighing


def _wait(ledger: Ledger, record: WeighingRecord, clock: StepClock) -> Verdict:
    time.sleep(WORK_S)
    return Verdict(weighing=record.id, source="manual", outcome="rejected", reason="measured")


if __name__ == "__main__":
    tasks._run = _wait
    main._end_engine = lambda: None
    main.run_worker([EVENTS_QUEUE, GPU_QUEUE])
