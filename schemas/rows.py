"""One prediction of an evaluation, as the trace server has it."""

from typing import Any

from pydantic import BaseModel, ConfigDict


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
