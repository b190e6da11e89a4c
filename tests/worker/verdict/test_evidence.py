"""What the trace server has of an evaluation is what counts, and all of it must be there."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import weave
from weave.trace.refs import ObjectRef
from weave.trace.weave_client import WeaveClient

from schemas.errors import ConfigurationError, EvidenceError
from worker.verdict.evidence import Evaluated, evaluation_calls, read_back

_ROWS = [{"number": number, "question": f"q{number}", "answer": "yes"} for number in range(3)]


class Says(weave.Model):
    """Says one thing."""

    what: str

    @weave.op
    async def predict(self, question: str) -> dict[str, str]:
        return {"answer": self.what}


@weave.op
def correct(answer: str, output: dict[str, str]) -> bool:
    return output["answer"] == answer


@weave.op
def judged(number: int, output: dict[str, str]) -> dict[str, Any]:
    return {"score": number / 2, "reason": "because", "missing": None}


Run = Callable[..., str]


@pytest.fixture
def evaluated(weave_project: WeaveClient) -> Run:
    """Runs an evaluation; its root call's id."""

    def run(what: str = "yes", trials: int = 1) -> str:
        dataset = weave.Dataset(name="rows", rows=_ROWS)
        evaluation = weave.Evaluation(dataset=dataset, scorers=[correct, judged], trials=trials)
        _, call = asyncio.run(evaluation.evaluate.call(evaluation, Says(what=what)))
        weave_project.flush()
        return str(call.id)

    return run


def _by_id(found: Evaluated) -> dict[int, Any]:
    return {row.columns["number"]: row for row in found.rows}


def test_rows_carry_question_answer_and_scores(weave_project: WeaveClient, evaluated: Run) -> None:
    found = read_back(weave_project, evaluated())
    row = _by_id(found)[1]
    assert row.columns == _ROWS[1]
    assert row.output == {"answer": "yes"}
    assert row.scores.pop("model_latency") > 0
    assert row.scores == {"correct": True, "judged.score": 0.5}
    assert found.summary["correct"] == {"true_count": 3, "true_fraction": 1.0}


def test_refs_are_those_of_the_published_objects(
    weave_project: WeaveClient, evaluated: Run
) -> None:
    found = read_back(weave_project, evaluated())
    names = [ObjectRef.parse_uri(ref).name for ref in (found.evaluation, found.dataset)]
    assert names == ["rows-evaluation", "rows"]
    assert weave_project.get(ObjectRef.parse_uri(found.model)).what == "yes"


def test_a_row_has_the_same_digest_in_every_evaluation_and_trial(
    weave_project: WeaveClient, evaluated: Run
) -> None:
    first, second = (
        read_back(weave_project, evaluated(what, trials=trials))
        for what, trials in (("yes", 1), ("no", 2))
    )
    assert {row.digest for row in first.rows} == {row.digest for row in second.rows}
    assert (len(second.rows), second.of_rows) == (6, 6)


def test_evaluations_of_a_model_are_found_the_newest_first(
    weave_project: WeaveClient, evaluated: Run
) -> None:
    calls = [evaluated("yes"), evaluated("no"), evaluated("yes")]
    found = read_back(weave_project, calls[0])
    assert evaluation_calls(weave_project, found.evaluation, found.model) == [calls[2], calls[0]]


def test_a_deleted_row_is_an_evidence_error(weave_project: WeaveClient, evaluated: Run) -> None:
    call = evaluated()
    gone = read_back(weave_project, call).rows[0].call
    weave_project.delete_calls([gone])
    with pytest.raises(EvidenceError, match=rf"{call} has 2 of 3 rows on the trace server"):
        read_back(weave_project, call, waits=())


_KILLED = """
import asyncio, os, sys
import weave

client = weave.init(sys.argv[1], settings={"print_call_link": False})

@weave.op
async def dies(question: str) -> str:
    for _ in range(300):
        if list(client.get_calls(filter={"trace_roots_only": True})):
            os._exit(9)
        await asyncio.sleep(0.1)

evaluation = weave.Evaluation(dataset=weave.Dataset(name="rows", rows=[{"question": "q"}]))
asyncio.run(evaluation.evaluate(dies))
"""


def test_an_evaluation_whose_process_was_killed_has_not_ended(
    weave_project: WeaveClient, project: str
) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, project], check=False)
    assert killed.returncode == 9
    [root] = weave_project.get_calls(filter={"trace_roots_only": True})
    with pytest.raises(EvidenceError, match=r"has \d of its rows .*, and has not ended there"):
        read_back(weave_project, str(root.id), waits=())


def test_a_missing_call_is_an_evidence_error(weave_project: WeaveClient) -> None:
    with pytest.raises(EvidenceError, match="There is no Weave call 0197"):
        read_back(weave_project, "0197", waits=())


def test_a_call_of_something_else_is_refused(weave_project: WeaveClient) -> None:
    _, call = correct.call("yes", {"answer": "yes"})
    weave_project.flush()
    with pytest.raises(ConfigurationError, match="not of an evaluation"):
        read_back(weave_project, str(call.id), waits=())
