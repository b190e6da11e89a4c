"""Publishes the result of a weighing in W&B, in Weave and as a report.

    publish          publish_predictions, publish_verdict: the two calls of the pipeline
    predictions      an evaluation's rows as people read them, and those that flipped
    columns          where the predictions find the question, the answers and the topic
    stored_values    what Weave stored, as text
    tables           the predictions as tables of the W&B run
    leaderboard      the gate's leaderboard in Weave
    tags             the outcome as a tag on the run and on the version in the Registry
    verdict_record   the whole verdict on the evaluation's call in Weave
    report/          the verdict as one HTML page

Publishing again replaces the earlier result and adds nothing.
"""

from worker.publishing.leaderboard import publish_leaderboard
from worker.publishing.publish import (
    Predictions,
    publish_predictions,
    publish_verdict,
    with_report,
)
from worker.publishing.tables import log_tables
from worker.publishing.tags import tag_run, tag_version
from worker.publishing.verdict_record import record_verdict, recorded_verdict

__all__ = [
    "Predictions",
    "log_tables",
    "publish_leaderboard",
    "publish_predictions",
    "publish_verdict",
    "record_verdict",
    "recorded_verdict",
    "tag_run",
    "tag_version",
    "with_report",
]
