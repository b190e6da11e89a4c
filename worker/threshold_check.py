"""Check before any evaluation whether a gate's thresholds can be measured.

Only what the published data says counts. A scorer's own code is not run, so what it measures is
unknown, and nothing is said of it.
"""

from collections.abc import Iterator, Sequence

from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.rows import LATENCY, Row
from schemas.thresholds import RelativeThreshold, Threshold
from worker.stored_evaluation import StoredEvaluation, StoredScorer
from worker.verdict.row_metrics import STATISTICS, column_of, sliced
from worker.verdict.usage import metric_names

# How Weave names a summary (docs/upstream/weave-protocol.md, "Evaluations and scores").
_SUMMARIES = {*STATISTICS, "true_count"}
# Weave also summarizes the numbers in a model's outputs.
_OUTPUTS = {"output", "model_output"}


def metric_faults(gate: Gate, scorers: Sequence[StoredScorer]) -> Iterator[ConfigurationError]:
    """Yield an error for each threshold on a metric that the evaluation cannot have.

    Args:
        gate: The gate.
        scorers: The scorers of its evaluation.
    """
    unmeasured: set[str] = set()
    for threshold in gate.thresholds:
        if threshold.metric in unmeasured:
            continue
        if error := _unmeasured(threshold.metric, gate, scorers):
            unmeasured.add(threshold.metric)
            yield error
        elif error := _no_mean(threshold):
            yield error


def column_faults(gate: Gate, evaluation: StoredEvaluation) -> Iterator[ConfigurationError]:
    """Yield an error for each slice and cluster that the dataset does not have.

    The rows are read only if a threshold has one.

    Raises:
        ConfigurationError: The dataset cannot be read.
        PlatformError: The trace server did not answer.
    """
    slices = {str(one.slice): one.slice for one in gate.thresholds if one.slice}
    clusters = {one.cluster for one in gate.relative_thresholds if one.cluster is not None}
    if not slices and not clusters:
        return
    rows = [_row(columns) for columns in evaluation.rows()]
    for columns in slices.values():
        try:
            sliced(rows, columns)
        except ConfigurationError as error:
            yield error
    for cluster in sorted(clusters):
        try:
            column_of(rows, cluster)
        except ConfigurationError as error:
            yield error


def _unmeasured(
    metric: str, gate: Gate, scorers: Sequence[StoredScorer]
) -> ConfigurationError | None:
    for scorer in scorers:
        if metric == scorer.name or metric.startswith(f"{scorer.name}."):
            return _not_summarized(metric, scorer)
    others = gate.application.models if gate.application else ()
    without_scorers = [f"{LATENCY}.mean", *metric_names(others)]
    if metric in without_scorers or metric.partition(".")[0] in _OUTPUTS:
        return None
    names = ", ".join(scorer.name for scorer in scorers) or "none"
    return ConfigurationError(
        f"No evaluation measures {metric}: the scorers of {gate.evaluation.uri} are {names}.",
        fix=f"Name a metric of a scorer, or one of {', '.join(without_scorers)}.",
    )


def _not_summarized(metric: str, scorer: StoredScorer) -> ConfigurationError | None:
    is_summary = metric != scorer.name and metric.rpartition(".")[2] in _SUMMARIES
    if is_summary or scorer.has_own_summary:
        return None
    return ConfigurationError(
        f"{metric} names no summary: Weave summarizes the numbers of scorer {scorer.name} as mean,"
        " and its yes or no as true_fraction and true_count.",
        fix=f"Write {metric}.mean or {metric}.true_fraction.",
    )


def _no_mean(threshold: Threshold) -> ConfigurationError | None:
    """Return the error for a threshold that needs a score in each row, on a metric without one."""
    metric = threshold.metric
    if metric.rpartition(".")[2] in STATISTICS:
        return None
    if isinstance(threshold, RelativeThreshold):
        consequence = "it cannot be compared row by row"
    elif threshold.slice:
        consequence = "it has no slices"
    else:
        return None
    return ConfigurationError(
        f"{metric} is no mean over rows, so {consequence}.",
        fix="Name a scorer's mean or true_fraction, or model_latency.mean.",
    )


def _row(columns: dict[str, object]) -> Row:
    return Row(call="", digest="", columns=columns, output=None, scores={})
