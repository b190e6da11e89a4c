"""The gate's leaderboard in Weave: every model that its evaluation has measured, side by side."""

from collections.abc import Iterator

from weave.flow.leaderboard import Leaderboard, LeaderboardColumn
from weave.trace.settings import override_settings
from weave.trace.weave_client import WeaveClient

from application.trace_call import trace_call
from schemas.gates import Gate
from schemas.refs import WeaveRef

# Weave's summary does not have these: worker/verdict/usage.py adds them.
_OURS = ("usage", "cost", "latency")


def publish_leaderboard(client: WeaveClient, gate: Gate, evaluation: WeaveRef) -> WeaveRef:
    """Publish a leaderboard of the gate's metrics, under the gate's name.

    The same gate and evaluation are the same version of it. Left out is what Weave's summary of an
    evaluation does not have: slices, usage, cost and percentiles of the latency.

    Args:
        client: of the project that the evaluation is in.
        evaluation: by digest, so that it is the one that the models were measured with.

    Returns:
        The leaderboard, by digest.

    Raises:
        PlatformError: Weave did not take it, as when another kind of object has this name.
    """
    board = Leaderboard(name=gate.name, columns=list(_columns(gate, evaluation)))
    # The client's cache would keep an earlier version from becoming the latest again.
    with (
        trace_call(f"publish the leaderboard of gate {gate.name}"),
        override_settings(use_server_cache=False),
    ):
        # As weave.publish does, but with this client, not the one that is current. The ref waits
        # for the server's answer when its digest is asked for.
        return WeaveRef.parse(client._save_object(board, gate.name).uri)


def _columns(gate: Gate, evaluation: WeaveRef) -> Iterator[LeaderboardColumn]:
    """One for each metric, in the gate's order; the first threshold says which way is up."""
    seen = set()
    for threshold in gate.thresholds:
        # `model_latency` is not a scorer, but in the summary it stands where scorers do.
        scorer, _, path = threshold.metric.partition(".")
        if threshold.slice or scorer in _OURS or threshold.metric in seen:
            continue
        seen.add(threshold.metric)
        yield LeaderboardColumn(
            evaluation_object_ref=evaluation.uri,
            scorer_name=scorer,
            summary_metric_path=path,
            should_minimize=threshold.sign < 0,
        )
