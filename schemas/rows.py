"""One prediction of an evaluation, as the trace server has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

LATENCY = "model_latency"
"""Weave's name for the seconds in which a model answers a row."""


ENVIRONMENT = "weighbridge-environment"
"""Attribute of an evaluation's calls: the digest of the versions of the packages that ran it."""


class Row(BaseModel):
    """A dataset row, the model's answer and its scores.

    Attributes:
        call: Id of Weave's ``Evaluation.predict_and_score`` call.
        digest: Digest of the dataset's row, the same in every evaluation. With several trials,
            several predictions have the same digest.
        columns: The dataset's columns.
        output: The value that the model returned.
        scores: Scores by scorer, or by scorer and part (``judge.relevance``), and
            ``model_latency`` in seconds. A bool is a yes or no.
    """

    model_config = ConfigDict(frozen=True)

    call: str
    digest: str
    columns: dict[str, Any]
    output: Any
    scores: dict[str, bool | float]


def flat_scores(measured: Mapping[str, Any]) -> dict[str, bool | float]:
    """The numbers and bools in a row's scores, by dotted path; other values are left out."""
    return dict(_flat("", measured))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, bool | float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, bool | int | float):
        yield prefix, value if isinstance(value, bool) else float(value)
