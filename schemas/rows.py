"""One prediction of an evaluation, as the trace server has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

LATENCY = "model_latency"
"""Weave's name for the seconds that a model took to answer a row."""


class Row(BaseModel):
    """A dataset row, what the model answered, and how that was scored.

    Attributes:
        call: id of Weave's `Evaluation.predict_and_score` call.
        digest: of the dataset's row; the same row has the same one in every evaluation, and a row
            that is asked in several trials is there several times.
        columns: the dataset's columns.
        output: what the model returned.
        scores: by scorer, or by scorer and part (`judge.relevance`), and `model_latency` in
            seconds. A bool is a yes or no.
    """

    model_config = ConfigDict(frozen=True)

    call: str
    digest: str
    columns: dict[str, Any]
    output: Any
    scores: dict[str, bool | float]


def flat_scores(measured: Mapping[str, Any]) -> dict[str, bool | float]:
    """The numbers and the yes or no in a row's scores, by dotted path.

    What is missing is left out, and so is text.
    """
    return dict(_flat("", measured))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, bool | float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, bool | int | float):
        yield prefix, value if isinstance(value, bool) else float(value)
