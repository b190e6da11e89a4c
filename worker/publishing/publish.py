"""Publishes predictions and verdicts: on the run, on the version, in Weave and as a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import structlog
import wandb
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.refs import WeaveRef
from schemas.rows import Row
from schemas.settings import Settings
from schemas.verdicts import Verdict
from worker.publishing.columns import explain_unknown
from worker.publishing.leaderboard import publish_leaderboard
from worker.publishing.predictions import Prediction, read_predictions
from worker.publishing.report import render_report, write_report
from worker.publishing.tables import log_tables
from worker.publishing.tags import tag_run, tag_version
from worker.publishing.verdict_record import record_verdict

log = structlog.get_logger()


class Predictions(NamedTuple):
    """The predictions of a version, and those of the champion on the same rows.

    Attributes:
        candidate: The version's predictions.
        champion: The champion's predictions; None if there was no comparison.
        remarks: What is to be said on the gate's ``columns``, in sentences.
    """

    candidate: list[Prediction]
    champion: list[Prediction] | None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, gate: Gate, candidate: Sequence[Row], champion: Sequence[Row] | None
    ) -> "Predictions":
        """Read the predictions from an evaluation's rows."""
        evaluated = {row.digest for row in candidate}
        compared = None
        if champion is not None:
            same_rows = [row for row in champion if row.digest in evaluated]
            compared = read_predictions(same_rows, gate)
        remarks = explain_unknown(gate.columns, candidate)
        return cls(read_predictions(candidate, gate), compared, remarks)


def publish_predictions(
    client: WeaveClient, run: wandb.Run, gate: Gate, evaluation: str, predictions: Predictions
) -> None:
    """Log the predictions to the run, and update the gate's leaderboard.

    A remark on the gate's ``columns`` is logged: no verdict depends on what a report shows.

    Raises:
        PlatformError: Weave did not accept the leaderboard.
    """
    for remark in predictions.remarks:
        log.warning("no row has a column of the gate", gate=gate.name, reason=remark)
    log_tables(run, predictions.candidate, predictions.champion)
    publish_leaderboard(client, gate, WeaveRef.parse(evaluation))


def publish_verdict(
    client: WeaveClient,
    run: wandb.Run,
    api: wandb.Api,
    gate: Gate,
    verdict: Verdict,
    predictions: Predictions,
    settings: Settings,
) -> Verdict:
    """Write the report, tag the run and the version, and record the verdict in Weave.

    Publishing another verdict on the same weighing replaces the first one.

    Returns:
        The verdict with the path of its report. The path is None if the folder cannot be written:
        the run has the page as well, and no verdict depends on a folder.

    Raises:
        PlatformError: W&B did not answer, or the record did not arrive.
    """
    page = render_report(
        verdict, gate, predictions.candidate, predictions.champion, predictions.remarks
    )
    verdict = _save_report(page, verdict, settings.report_dir)
    run.log({"report": wandb.Html(page, inject=False)})
    tag_run(run, verdict.outcome)
    tag_version(api, verdict.weighing, verdict.outcome)
    if verdict.evidence:
        record_verdict(client, verdict.evidence.weave_call, verdict)
    return verdict


def with_report(gate: Gate, verdict: Verdict, settings: Settings) -> Verdict:
    """Write the report of a weighing that failed without predictions; W&B is not called."""
    return _save_report(render_report(verdict, gate, (), None), verdict, settings.report_dir)


def _save_report(page: str, verdict: Verdict, folder: Path) -> Verdict:
    try:
        path = str(write_report(page, folder, verdict))
    except ConfigurationError as error:
        log.warning("report not written to the report folder", reason=str(error))
        path = None
    return verdict.model_copy(update={"report": path})
