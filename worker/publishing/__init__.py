"""Where people find what a weighing found: in W&B and in Weave.

    tables       on the run: the predictions, and those that the champion got differently
    tags         the outcome on the run and on the version in the Registry
    leaderboard  in Weave: every model that the gate's evaluation has measured, side by side
    record       the verdict on the evaluation's call, to be read and compared later

Everything may be done again: it replaces what was there and adds nothing. ``traces`` says who must
act when Weave's trace server fails.
"""

from worker.publishing.leaderboard import publish_leaderboard
from worker.publishing.tables import log_predictions
from worker.publishing.tags import tag_run, tag_version
from worker.publishing.verdict_record import record_verdict, recorded_verdict

__all__ = [
    "log_predictions",
    "publish_leaderboard",
    "record_verdict",
    "recorded_verdict",
    "tag_run",
    "tag_version",
]
