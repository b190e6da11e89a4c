"""The gate's leaderboard in Weave, which compares every model that its evaluation has measured."""

from collections.abc import Iterator

from weave.flow.leaderboard import Leaderboard, LeaderboardColumn
from weave.trace.weave_client import WeaveClient

from application.trace_call import uncached_trace_call
from schemas.gates import Gate
from schemas.refs import WeaveRef

# Metrics that worker/verdict/usage.py adds; Weave's summary does not have them.
_ADDED = ("usage", "cost", "latency")


def publish_leaderboard(client: WeaveClient, gate: Gate, evaluation: WeaveRef) -> WeaveRef:
    """Publish a leaderboard of the gate's metrics, under the gate's name.

    The same gate and evaluation always give the same version. Metrics that Weave's summary does
    not have are left out: slices, usage, cost and latency percentiles.

    Args:
        client: Client of the evaluation's project.
        evaluation: The evaluation by digest, so that it is the one that measured the models.

    Returns:
        The leaderboard, by digest.

    Raises:
        PlatformError: Weave did not accept it, for example because another kind of object has this
            name.
    """
    board = Leaderboard(name=gate.name, columns=list(_columns(gate, evaluation)))
    with uncached_trace_call(f"publish the leaderboard of gate {gate.name}"):
        # As weave.publish does, but with this client instead of the current one. Reading the ref's
        # digest waits for the server's answer.
        return WeaveRef.parse(client._save_object(board, gate.name).uri)


def _columns(gate: Gate, evaluation: WeaveRef) -> Iterator[LeaderboardColumn]:
    """Yield one column per metric in the gate's order; its first threshold sets the direction."""
    seen = set()
    for threshold in gate.thresholds:
        # `model_latency` is not a scorer, but it is in the summary beside the scorers.
        scorer, _, path = threshold.metric.partition(".")
        if threshold.slice or scorer in _ADDED or threshold.metric in seen:
            continue
        seen.add(threshold.metric)
        yield LeaderboardColumn(
            evaluation_object_ref=evaluation.uri,
            scorer_name=scorer,
            summary_metric_path=path,
            should_minimize=threshold.sign < 0,
        )
