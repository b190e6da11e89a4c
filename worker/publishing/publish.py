"""Puts a verdict where people look: the run, the version's tags, Weave, and the report."""

from collections.abc import Mapping, Sequence
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
from schemas.verdicts import Evidence, Verdict
from worker.publishing import (
    log_predictions,
    publish_leaderboard,
    record_verdict,
    tag_run,
    tag_version,
)
from worker.publishing.predictions import Prediction, predictions
from worker.publishing.report import report_page, write_report

log = structlog.get_logger()


class Predictions(NamedTuple):
    """What an evaluation found, as people read it.

    Attributes:
        candidate: the version's predictions.
        champion: the champion's on the same rows; None if nothing was compared.
    """

    candidate: list[Prediction]
    champion: list[Prediction] | None

    @classmethod
    def of(
        cls, gate: Gate, candidate: Sequence[Row], champion: Sequence[Row] | None
    ) -> "Predictions":
        """Make them from rows."""
        asked = {row.digest for row in candidate}
        same = None
        if champion is not None:
            same = predictions([row for row in champion if row.digest in asked], gate)
        return cls(predictions(candidate, gate), same)


def publish_predictions(
    client: WeaveClient, run: wandb.Run, gate: Gate, evaluation: str, findings: Predictions
) -> None:
    """Log the predictions to the run, and keep the gate's leaderboard up to date.

    Raises:
        PlatformError: Weave did not take the leaderboard.
    """
    log_predictions(run, findings.candidate, findings.champion)
    publish_leaderboard(client, gate, WeaveRef.parse(evaluation))


def publish_verdict(
    client: WeaveClient,
    run: wandb.Run,
    api: wandb.Api,
    gate: Gate,
    verdict: Verdict,
    findings: Predictions,
    settings: Settings,
) -> Verdict:
    """Write the report, tag run and version, and record the verdict on the evaluation's call.

    Doing it again with another verdict replaces what was said before.

    Returns:
        The verdict, with the path of its report; None where that cannot be written: the run has
        the page as well, and no verdict depends on a folder.

    Raises:
        PlatformError: W&B did not answer, or the record did not arrive.
    """
    page = report_page(verdict, gate, findings.candidate, findings.champion, _links(verdict))
    verdict = verdict.model_copy(update={"report": _kept(page, settings.report_dir, verdict)})
    run.log({"report": wandb.Html(page, inject=False)})
    tag_run(run, verdict.outcome)
    tag_version(api, verdict.weighing, verdict.outcome)
    if verdict.evidence:
        record_verdict(client, verdict.evidence.weave_call, verdict)
    return verdict


def with_report(gate: Gate, verdict: Verdict, settings: Settings) -> Verdict:
    """Write the report of a weighing that ended without findings; W&B is not asked."""
    page = report_page(verdict, gate, (), None, _links(verdict))
    return verdict.model_copy(update={"report": _kept(page, settings.report_dir, verdict)})


def _kept(page: str, folder: Path, verdict: Verdict) -> str | None:
    try:
        return str(write_report(page, folder, verdict))
    except ConfigurationError as error:
        log.warning("the report is only in the run", reason=str(error))
        return None


def _links(verdict: Verdict) -> Mapping[str, str]:
    links = {"Weighed version": str(verdict.weighing.version)}
    if verdict.promoted_ref:
        links["Promoted version"] = verdict.promoted_ref
    return links | _evidence_links(verdict.evidence) if verdict.evidence else links


def _evidence_links(evidence: Evidence) -> dict[str, str]:
    return {
        "W&B run": evidence.run_url,
        "Evaluation in Weave": evidence.weave_url,
        "RagModel": str(evidence.rag_model),
    }
