"""An evaluation stops when its verdict is certain, and then the weighing reaches that verdict."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import wandb
import weave
from numpy.typing import ArrayLike
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError
from schemas.gates import Gate
from schemas.rows import Row
from tests.worker.measured import of_rows, rows
from worker.evaluation import evaluate
from worker.verdict.checks import check_thresholds, decide_outcome
from worker.verdict.early_stop import EarlyVerdict

Early = Callable[..., Gate]

_COUNT = 100
_COLUMNS = [{"id": number, "topic": ("ice", "sea")[number % 2]} for number in range(_COUNT)]
_BATCH = 10
_CONFIDENCE = 0.9

_NO_WORSE = {"metric": "score.mean", "no_worse_than": "champion", "margin": 0.05}
_BETTER = {"metric": "score.mean", "better_than": "champion"}


def _at_least(bound: float, metric: str = "score.mean", **more: Any) -> dict[str, Any]:
    return {"metric": metric, "at_least": bound, **more}


@pytest.fixture
def early(gate: Gate) -> Early:
    """A gate with these thresholds that stops early."""

    def make(*thresholds: dict[str, Any]) -> Gate:
        changed = {
            "thresholds": thresholds,
            "early_stop": {"confidence": _CONFIDENCE, "batch": _BATCH},
            "promote": {"to": gate.promote.to, "aliases": ["production"]},
        }
        return Gate.model_validate(gate.model_dump() | changed)

    return make


def _asked(**scores: ArrayLike) -> tuple[Row, ...]:
    """All rows of the dataset, with these scores; what is shorter is repeated."""
    whole = {name: np.resize(values, _COUNT).tolist() for name, values in scores.items()}
    return rows(whole, _COLUMNS)


def _looks(verdict: EarlyVerdict, answered: Sequence[Row], batch: int = _BATCH) -> int | None:
    """After how many rows the verdict was certain, before the last; None if never."""
    for end in range(batch, len(answered), batch):
        if verdict(answered[:end]):
            return end
    return None


def _decided_after(
    gate: Gate, answered: Sequence[Row], champion: Sequence[Row] | None = None
) -> int | None:
    return _looks(EarlyVerdict(gate, _COLUMNS, champion), answered)


def test_a_certain_rejection_stops(early: Early) -> None:
    assert _decided_after(early(_at_least(0.8)), _asked(score=[0.1])) == 10


def test_a_certain_promotion_stops(early: Early) -> None:
    assert _decided_after(early(_at_least(0.2)), _asked(score=[1.0])) == 10


def test_a_yes_or_no_is_watched_like_a_score(early: Early) -> None:
    gate = early(_at_least(0.8, "right.true_fraction"))
    assert _decided_after(gate, _asked(right=[False])) == 10


def test_what_is_near_its_bound_is_not_certain(early: Early) -> None:
    assert _decided_after(early(_at_least(0.5)), _asked(score=[0.0, 1.0])) is None


def test_one_certain_failure_rejects_whatever_the_others_do(early: Early) -> None:
    gate = early(_at_least(0.5), {"metric": "wrong.mean", "at_most": 0.2})
    assert _decided_after(gate, _asked(score=[0.0, 1.0], wrong=[0.9])) == 10


def test_thresholds_share_the_risk(early: Early) -> None:
    """Each of many must be the more certain."""
    bound, unbounded = _at_least(0.3), {"metric": "model_latency.mean", "at_most": 2}
    answered = _asked(score=[0.1], model_latency=[1.0])
    alone, among = (
        _looks(EarlyVerdict(early(bound, *others), _COLUMNS, None), answered, batch=1)
        for others in ([], [unbounded] * 9)
    )
    assert 0 < (alone or 0) < (among or 0)


def test_a_promotion_waits_for_every_threshold(early: Early) -> None:
    alone, both = early(_at_least(0.2)), early(_at_least(0.2), _at_least(0.5, "near.mean"))
    answered = _asked(score=[1.0], near=[0.0, 1.0])
    assert _decided_after(alone, answered) == 10
    assert _decided_after(both, answered) is None


@pytest.mark.parametrize(
    "unbounded",
    [
        {"metric": "model_latency.mean", "at_most": 2},
        {"metric": "latency.p95", "at_most": 2},
        {"metric": "usage.total_tokens", "at_most": 9_000},
        {"metric": "cost.total", "at_most": 1},
    ],
    ids=lambda one: str(one["metric"]),
)
def test_a_metric_without_bounds_is_never_certain(early: Early, unbounded: dict[str, Any]) -> None:
    gate = early(_at_least(0.5), unbounded)
    for latency in (0.1, 100.0):
        good = _asked(score=[1.0], model_latency=[latency])
        assert _decided_after(gate, good) is None
        assert _decided_after(gate, _asked(score=[0.0], model_latency=[latency])) == 10


@pytest.mark.parametrize("score", [0.0, 1.0], ids=["rejection", "promotion"])
def test_a_verdict_waits_for_min_rows(early: Early, score: float) -> None:
    gate = early(_at_least(0.5, min_rows=35))
    assert _decided_after(gate, _asked(score=[score])) == 40


def test_a_rejection_waits_for_the_detectable_difference(early: Early) -> None:
    answered, champion = _asked(score=[0.0, 0.0, 0.5, 0.5]), _asked(score=[1.0])
    waits = early(_NO_WORSE | {"detectable": 0.1})
    assert _decided_after(early(_NO_WORSE), answered, champion) == 10
    after = _decided_after(waits, answered, champion)
    assert after is not None
    assert after > 10


def test_a_verdict_needs_rows_of_every_slice(early: Early) -> None:
    """Else the weighing would find a slice without rows."""
    ice = [row for row in _asked(score=[0.0]) if row.columns["topic"] == "ice"]
    sea = [row for row in _asked(score=[0.0]) if row.columns["topic"] == "sea"]
    gate = early(_at_least(0.5, slice={"topic": "ice"}), _at_least(0.5, slice={"topic": "sea"}))
    assert _decided_after(gate, [*ice, *sea]) == 60


def test_a_slice_is_certain_by_its_own_rows(early: Early) -> None:
    answered = _asked(score=[1.0, 0.0])  # all of ice, none of sea
    assert _decided_after(early(_at_least(0.5)), answered) is None
    assert _decided_after(early(_at_least(0.5, slice={"topic": "ice"})), answered) == 10
    assert _decided_after(early(_at_least(0.5, slice={"topic": "sea"})), answered) == 10


def test_the_checks_on_the_rows_so_far_must_agree(early: Early) -> None:
    """What was certain once stays so, but the weighing sees the rows as they are now."""
    gate, answered = early(_at_least(0.35)), _asked(score=[0.0] * 12 + [1.0] * 88)
    assert EarlyVerdict(gate, _COLUMNS, None)(answered[:12])
    assert not EarlyVerdict(gate, _COLUMNS, None)(answered[:20])


def test_worse_than_the_champion_stops(early: Early) -> None:
    answered, champion = _asked(score=[0.2]), _asked(score=[0.9, 1.0])
    assert _decided_after(early(_NO_WORSE), answered, champion) == 10
    assert _decided_after(early(_BETTER), answered, champion) == 10


def test_better_than_the_champion_is_never_certain(early: Early) -> None:
    """The weighing asks it of an interval that no confidence covers at every look."""
    answered, champion = _asked(score=[1.0]), _asked(score=[0.0, 0.1])
    for threshold in (_NO_WORSE, _BETTER):
        assert _decided_after(early(threshold), answered, champion) is None


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_where_less_is_better_more_is_a_failure(early: Early, lower_is_better: bool) -> None:
    gate = early(_NO_WORSE | {"lower_is_better": lower_is_better})
    after = _decided_after(gate, _asked(score=[1.0, 0.9]), _asked(score=[0.1]))
    assert after == (10 if lower_is_better else None)


def test_without_a_champion_the_other_thresholds_decide(early: Early) -> None:
    gate = early(_NO_WORSE, _at_least(0.5))
    assert _decided_after(gate, _asked(score=[1.0])) == 10
    assert _decided_after(gate, _asked(score=[0.0])) == 10


def test_a_row_counts_once_with_the_mean_of_its_trials(early: Early) -> None:
    gate = early(_at_least(0.5))
    split = [_asked(score=[one]) for one in (0.0, 0.2, 1.0)]
    answered = [row for start in range(0, _COUNT, 10) for one in split for row in one[start:][:10]]
    whole = _asked(score=[0.4])
    by_batch = _looks(EarlyVerdict(gate, _COLUMNS, None), answered, batch=30)
    assert by_batch == 3 * (_decided_after(gate, whole) or 0) > 0


def test_a_dataset_with_equal_rows_is_evaluated_whole(early: Early) -> None:
    gate, answered = early(_at_least(0.8)), _asked(score=[0.0])
    verdict = EarlyVerdict(gate, [*_COLUMNS, _COLUMNS[0]], None)
    assert _looks(verdict, [*answered, answered[0]]) is None


@pytest.mark.parametrize("score", [1.5, -0.1])
def test_a_score_outside_0_to_1_has_no_early_verdict(early: Early, score: float) -> None:
    said = r"score\.mean is .* on a row, .* between 0 and 1\. Remove early_stop from the gate\."
    with pytest.raises(ConfigurationError, match=said):
        _decided_after(early(_at_least(0.5)), _asked(score=[score]))
    with pytest.raises(ConfigurationError, match=said):
        EarlyVerdict(early(_NO_WORSE), _COLUMNS, _asked(score=[score]))


def test_where_a_score_is_missing_nothing_is_certain(early: Early) -> None:
    gate, answered = early(_at_least(0.5)), list(_asked(score=[0.0]))
    answered[3] = answered[3].model_copy(update={"scores": {}})
    assert _decided_after(gate, answered) is None


def test_where_the_champion_lacks_a_row_nothing_is_certain(early: Early) -> None:
    answered, champion = _asked(score=[0.0]), _asked(score=[1.0])
    assert _decided_after(early(_NO_WORSE), answered, champion[:5]) is None


@pytest.mark.parametrize("off", [1e-6, -1e-6], ids=["just missed", "just reached"])
def test_the_whole_evaluation_says_otherwise_as_seldom_as_stated(early: Early, off: float) -> None:
    """The hardest bound for each evaluation is the one beside its own mean."""
    rng, streams, wrong = np.random.default_rng(4), 300, 0
    for _ in range(streams):
        answered = _asked(score=rng.binomial(1, 0.7, _COUNT))
        bound = float(np.mean([row.scores["score"] for row in answered]))
        wrong += _differs(early(_at_least(bound + off)), answered) or 0
    assert 0 < wrong / streams <= 1 - _CONFIDENCE


def test_beside_the_champion_the_whole_evaluation_says_the_same(early: Early) -> None:
    """The weighing's own interval stands between what is certain and a promotion."""
    gate, rng = early(_at_least(0.6), _NO_WORSE), np.random.default_rng(4)
    stopped = []
    for gain in rng.uniform(-0.25, 0.15, 60):
        theirs = rng.beta(7, 3, _COUNT)
        moved = np.where(rng.random(_COUNT) < 0.4, rng.beta(7, 3, _COUNT), theirs) + gain
        answered, champion = _asked(score=np.clip(moved, 0, 1)), _asked(score=theirs)
        stopped.append(_differs(gate, answered, champion))
    assert stopped.count(None) < 50
    assert stopped.count(True) == 0


def _differs(
    gate: Gate, answered: Sequence[Row], champion: Sequence[Row] | None = None
) -> bool | None:
    """Whether the whole evaluation has another verdict than the early one; None without one."""
    after = _decided_after(gate, answered, champion)
    if after is None:
        return None
    theirs = of_rows(champion) if champion else None
    early, whole = (
        check_thresholds(gate, of_rows(some), theirs) for some in (answered[:after], answered)
    )
    return decide_outcome(early) != decide_outcome(whole)


class Guesses(weave.Model):
    """Says yes."""

    @weave.op
    async def predict(self, number: int) -> str:
        return "yes"


@weave.op
def score(truth: float, output: str) -> float:
    return truth


def _published(low: float, high: float) -> weave.Evaluation:
    drawn = np.random.default_rng(5).uniform(low, high, 40)
    dataset = weave.Dataset(
        name="rows",
        rows=[{"number": place, "truth": truth} for place, truth in enumerate(drawn.tolist())],
    )
    stored: weave.Evaluation = weave.publish(
        weave.Evaluation(dataset=dataset, scorers=[score])
    ).get()
    return stored


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.0, 0.3, "rejected"), (0.6, 1.0, "promoted")]
)
def test_the_weighing_of_an_evaluation_that_stopped_says_what_was_certain(
    weave_project: WeaveClient, run: wandb.Run, early: Early, low: float, high: float, verdict: str
) -> None:
    gate, evaluation = early(_at_least(0.45)), _published(low, high)
    found = evaluate(
        weave_project,
        run,
        evaluation,
        Guesses(),
        concurrency=4,
        is_decided=EarlyVerdict(gate, _columns(evaluation), None),
        batch=_BATCH,
    )
    assert len(found.rows) < found.of_rows == 40
    checks = check_thresholds(gate, found)
    assert decide_outcome(checks) == verdict
    assert checks[0].value == pytest.approx(found.summary["score"]["mean"])


def test_a_score_outside_0_to_1_ends_the_evaluation_with_the_fix(
    weave_project: WeaveClient, run: wandb.Run, early: Early
) -> None:
    evaluation = _published(1.0, 9.0)
    verdict = EarlyVerdict(early(_at_least(0.45)), _columns(evaluation), None)
    with pytest.raises(ConfigurationError, match="Remove early_stop from the gate"):
        evaluate(
            weave_project,
            run,
            evaluation,
            Guesses(),
            concurrency=4,
            is_decided=verdict,
            batch=_BATCH,
        )


def _columns(evaluation: weave.Evaluation) -> list[dict[str, Any]]:
    return [dict(row) for row in evaluation.dataset.rows]
