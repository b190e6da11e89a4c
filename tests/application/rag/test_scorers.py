"""Scores of single answers, against SQuAD's own definition."""

import subprocess
import sys
from pathlib import Path

import pytest
from weave.trace.serialization.custom_objs import encode_custom_obj

from application.rag import answer_correctness, context_recall, exact_match
from application.rag.scorers import SCORERS


@pytest.mark.parametrize(
    ("given", "f1", "exact"),
    [
        ("1856", 1.0, True),
        ("  The 1856.", 1.0, True),
        ("in 1856", 2 / 3, False),
        ("in the year 1856", 0.5, False),
        ("1857", 0.0, False),
        ("", 0.0, False),
    ],
)
def test_one_expected_answer(given: str, f1: float, exact: bool) -> None:
    output = {"answer": given, "context": []}
    assert answer_correctness("1856", [], output) == pytest.approx(f1)
    assert exact_match("1856", [], output) is exact


def test_the_best_of_several_expected_answers_counts() -> None:
    output = {"answer": "Arrhenius", "context": []}
    assert answer_correctness("Svante Arrhenius", [], output) == pytest.approx(2 / 3)
    assert answer_correctness("Svante Arrhenius", ["Arrhenius"], output) == 1.0
    assert exact_match("Svante Arrhenius", ["Arrhenius"], output)


def test_a_repeated_word_counts_as_often_as_it_is_expected() -> None:
    output = {"answer": "ice ice ice", "context": []}
    assert answer_correctness("ice sheet", [], output) == pytest.approx(0.4)


def test_recall_is_the_share_of_gold_passages_that_were_retrieved() -> None:
    output = {"answer": "", "context": [{"id": "a"}, {"id": "b"}]}
    assert context_recall(["a"], output) == 1.0
    assert context_recall(["a", "c"], output) == 0.5
    assert context_recall(["c"], output) == 0.0
    assert context_recall([], output) == 1.0


@pytest.mark.parametrize("name", SCORERS)
def test_the_published_source_runs_without_this_project(name: str, tmp_path: Path) -> None:
    encoded = encode_custom_obj(SCORERS[name])
    assert encoded is not None
    source = encoded["files"]["obj.py"]
    text = source if isinstance(source, str) else source.decode()
    assert "worker" not in text
    (tmp_path / "obj.py").write_text(text)
    # weave is imported from the environment, this project only from the folder it lies in
    subprocess.run([sys.executable, "obj.py"], cwd=tmp_path, check=True)
