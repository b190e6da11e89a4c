"""An evaluation in batches differs from Weave's own only in its row order and where it stops."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import weave
from weave.trace.ref_util import get_ref
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from application.batches import IsDecided, in_batches, with_row_callback
from schemas.errors import EvidenceError, InternalError
from schemas.rows import Row
from worker.verdict.evidence import Evaluated, read_back

_ROWS = [{"number": number, "question": f"q{number}"} for number in range(10)]

Evaluate = Callable[[weave.Evaluation], Evaluated]


class Echo(weave.Model):
    """Repeats the question, and raises on one of them."""

    breaks_on: str = ""

    @weave.op
    async def predict(self, question: str) -> dict[str, str]:
        if question == self.breaks_on:
            raise RuntimeError("the model broke")
        return {"answer": question}


@weave.op
def even(number: int, output: dict[str, str]) -> bool:
    return number % 2 == 0


@weave.op
def graded(number: int, output: dict[str, str]) -> dict[str, Any]:
    return {"share": number / 9, "reason": "because"}


@weave.op
def undefined(number: int, output: dict[str, str]) -> float:
    return math.nan if number == 3 else 1.0


class Checks:
    """An ``IsDecided`` that returns true on one of its calls, and keeps the rows of each call."""

    def __init__(self, true_on: int = 0) -> None:
        self.true_on = true_on
        self.rows: list[list[Row]] = []

    def __call__(self, rows: Sequence[Row]) -> bool:
        self.rows.append(list(rows))
        return len(self.rows) == self.true_on


def _published(trials: int = 1, scorers: Sequence[Any] = (even, graded)) -> weave.Evaluation:
    dataset = weave.Dataset(name="rows", rows=_ROWS)
    evaluation = weave.Evaluation(dataset=dataset, scorers=list(scorers), trials=trials)
    stored: weave.Evaluation = weave.publish(evaluation).get()
    return stored


def _evaluate(
    client: WeaveClient, evaluation: weave.Evaluation, model: weave.Model | None = None
) -> str:
    _, call = asyncio.run(evaluation.evaluate.call(evaluation, model or Echo()))
    client.flush()
    return str(call.id)


def _stopped(client: WeaveClient, is_decided: IsDecided, *, trials: int = 1) -> Evaluated:
    call = _evaluate(client, in_batches(_published(trials), 4, is_decided))
    return read_back(client, call)


def _numbers(rows: Sequence[Row]) -> list[int]:
    return [row.columns["number"] for row in rows]


def test_rows_come_in_a_random_order_that_is_the_same_each_time(
    weave_project: WeaveClient,
) -> None:
    checks = Checks()
    for _ in range(2):
        _stopped(weave_project, checks)
    assert [len(rows) for rows in checks.rows] == [4, 8, 10] * 2
    order = _numbers(checks.rows[2])
    assert order != sorted(order) == list(range(10))
    assert all(_numbers(rows) == order[: len(rows)] for rows in checks.rows)


def test_a_decided_evaluation_ends_normally_with_the_rows_so_far(
    weave_project: WeaveClient,
) -> None:
    checks = Checks(true_on=1)
    found = _stopped(weave_project, checks)
    assert (len(found.rows), found.of_rows, len(checks.rows)) == (4, 10, 1)
    [evaluated] = checks.rows
    assert sorted(_numbers(found.rows)) == sorted(_numbers(evaluated))
    true = sum(number % 2 == 0 for number in _numbers(evaluated))
    assert found.summary["even"] == {"true_count": true, "true_fraction": true / 4}
    root = weave_project.get_call(found.call)
    assert root.ended_at
    assert root.exception is None


def test_the_rows_of_a_check_are_those_that_are_read_back(weave_project: WeaveClient) -> None:
    checks = Checks(true_on=2)
    found = _stopped(weave_project, checks)
    checked = {row.digest: row for row in checks.rows[-1]}
    assert len(checked) == len(found.rows) == 8
    for row in found.rows:
        assert checked[row.digest].columns == row.columns
        assert checked[row.digest].scores == row.scores


def test_the_calls_name_the_published_version_and_no_other_is_published(
    weave_project: WeaveClient,
) -> None:
    published = get_ref(_published())
    assert published
    found = _stopped(weave_project, Checks(true_on=1))
    assert found.evaluation == published.uri
    children = weave_project.get_calls(filter={"parent_ids": [found.call]})
    assert {call.inputs["self"].ref.uri for call in children} == {published.uri}
    assert _versions(weave_project, "rows-evaluation") == [published.digest]
    assert _versions(weave_project, "rows") == [ObjectRef.parse_uri(found.dataset).digest]


def _versions(client: WeaveClient, name: str) -> list[str]:
    objects = client.server.objs_query(
        {"project_id": client.project_id, "filter": {"object_ids": [name]}}
    )
    return [one.digest for one in objects.objs]


def test_a_batch_holds_every_trial_of_its_rows(weave_project: WeaveClient) -> None:
    checks = Checks(true_on=1)
    found = _stopped(weave_project, checks, trials=2)
    assert (len(found.rows), found.of_rows) == (8, 20)
    [evaluated] = checks.rows
    assert _numbers(evaluated[:4]) == _numbers(evaluated[4:])
    assert sorted(_numbers(found.rows)) == sorted(_numbers(evaluated))


def test_without_an_early_stop_the_result_is_weaves_own(weave_project: WeaveClient) -> None:
    evaluation = _published(trials=2)
    whole = read_back(weave_project, _evaluate(weave_project, evaluation))
    again = _evaluate(weave_project, in_batches(evaluation, 4, lambda _rows: False))
    found = read_back(weave_project, again)
    assert _results(found) == _results(whole)
    assert (found.of_rows, found.evaluation) == (whole.of_rows, whole.evaluation)
    for scorer in ("even", "graded"):
        assert _flat(found.summary[scorer]) == pytest.approx(_flat(whole.summary[scorer]))


def _results(evaluated: Evaluated) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return what does not depend on time and order."""
    rows = sorted(evaluated.rows, key=lambda row: row.digest)
    return [(row.digest, row.output, row.scores | {"model_latency": 0}) for row in rows]


def _flat(summary: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(next(iter(value.values())) if isinstance(value, dict) else value)
        for name, value in summary.items()
    }


def test_a_row_that_raises_has_no_scores_as_in_weaves_own_loop(
    weave_project: WeaveClient,
) -> None:
    evaluation, checks = _published(), Checks()
    call = _evaluate(weave_project, in_batches(evaluation, 4, checks), Echo(breaks_on="q3"))
    assert [row.columns["number"] for row in checks.rows[-1] if "even" not in row.scores] == [3]
    with pytest.raises(EvidenceError, match="1 of 10 rows have no answer"):
        read_back(weave_project, call)
    plain = _evaluate(weave_project, evaluation, Echo(breaks_on="q3"))
    assert _summary(weave_project, call) == pytest.approx(_summary(weave_project, plain))


def _summary(client: WeaveClient, call: str) -> dict[str, float]:
    summary = client.get_call(call).output
    return {**_flat(summary["even"]), **_flat(summary["graded"])}


def test_a_score_that_is_nan_counts_as_missing(weave_project: WeaveClient) -> None:
    """The trace server stores null for it."""
    checks = Checks()
    evaluation = _published(scorers=[undefined])
    found = read_back(weave_project, _evaluate(weave_project, in_batches(evaluation, 4, checks)))
    for rows in (checks.rows[-1], found.rows):
        assert [row.columns["number"] for row in rows if "undefined" not in row.scores] == [3]


@pytest.mark.parametrize("batch", [None, 4])
def test_each_row_is_reported_with_its_scores_and_the_record_is_the_same(
    weave_project: WeaveClient, batch: int | None
) -> None:
    reported: list[Mapping[str, float]] = []
    published = _published()
    evaluation = with_row_callback(published, reported.append)
    if batch:
        evaluation = in_batches(evaluation, batch, Checks())
    found = read_back(weave_project, _evaluate(weave_project, evaluation))
    by_share = sorted(reported, key=lambda scores: scores["graded.share"])
    assert by_share == sorted(
        (row.scores for row in found.rows), key=lambda scores: scores["graded.share"]
    )
    ref = get_ref(published)
    assert ref
    assert found.evaluation == ref.uri
    children = list(weave_project.get_calls(filter={"parent_ids": [found.call]}))
    assert {call.inputs["self"].ref.uri for call in children} == {ref.uri}
    assert len(children) == len(_ROWS) + 1  # and the summary
    assert _versions(weave_project, "rows-evaluation") == [ref.digest]


def test_an_unpublished_evaluation_is_refused() -> None:
    evaluation = weave.Evaluation(dataset=weave.Dataset(name="rows", rows=_ROWS))
    with pytest.raises(InternalError, match="must be published before"):
        in_batches(evaluation, 4, lambda _rows: True)
