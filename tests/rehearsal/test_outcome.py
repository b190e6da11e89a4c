"""The rehearsal's table is readable on a terminal of 80 columns."""

import io

import pytest
from rich.console import Console

from rehearsal.outcome import show
from schemas.events import WeighingId
from schemas.thresholds import AtLeast, AtMost, NoWorseThan
from schemas.verdicts import Check, Comparison, Timings, Verdict

_CORRECT = "answer_correctness.mean"
_CORRECT_AT_LEAST = AtLeast(metric=_CORRECT, at_least=0.55)
_NO_WORSE = NoWorseThan(metric=_CORRECT, no_worse_than="champion", margin=0.02)
_LATENCY = AtMost(metric="model_latency.mean", at_most=120)
_WIDTH = 80


def _verdict(number: int, correct: float, comparison: Comparison | None) -> Verdict:
    passed = correct >= _CORRECT_AT_LEAST.at_least
    return Verdict(
        weighing=WeighingId(
            gate="climate-rag",
            collection="wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2",
            number=number,
        ),
        source="webhook" if passed else "poller",
        outcome="promoted" if passed else "rejected",
        reason="measured",
        checks=(
            Check(threshold=_CORRECT_AT_LEAST, value=correct, passed=passed),
            Check(threshold=_NO_WORSE, value=correct, passed=passed, comparison=comparison),
            Check(threshold=_LATENCY, value=18.367, passed=True),
        ),
        seconds=Timings(download=0.7, rebuild=133.6, evaluate=23.8, promote=0.1),
    )


def _comparison(difference: float, low: float, high: float) -> Comparison:
    return Comparison(
        champion=0.663,
        difference=difference,
        interval=(low, high),
        confidence=0.95,
        method="bootstrap",
        detectable=0.1,
        rows=66,
    )


_VERDICTS = [
    _verdict(0, 0.663, None),
    _verdict(1, 0.228, _comparison(-0.560, -0.675, -0.431)),
    _verdict(2, 0.788, _comparison(0.125, 0.037, 0.236)),
]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    output = io.StringIO()
    show(_VERDICTS, Console(file=output, width=_WIDTH, soft_wrap=True))
    return [line for line in output.getvalue().splitlines() if line.startswith(("┏", "┃", "│"))]


def test_the_table_fits_into_80_columns(lines: list[str]) -> None:
    assert max(map(len, lines)) <= _WIDTH


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (0, ["found by", "verdict", _CORRECT, "model_latency.mean <="]),
        (0, ["download", "rebuild", "evaluate", "promote"]),
        (1, ["webhook", "promoted", "0.663", "no champion", "18.367", "133.6 s", "23.8 s"]),
        (2, ["poller", "rejected", "✗ 0.228", "✗ -0.560", "[-0.675, -0.431]", "0.7 s"]),
        (3, ["webhook", "promoted", "0.788", "+0.125", "[+0.037, +0.236]", "0.1 s"]),
    ],
)
def test_every_value_is_shown_in_full(lines: list[str], column: int, values: list[str]) -> None:
    cells = {line.split("│")[column + 1].strip() for line in lines if line.startswith("│")}
    assert set(values) <= cells
