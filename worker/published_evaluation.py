"""The published Evaluation of a gate, as the steps of a weighing need it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import weave
from weave.trace.ref_util import get_ref

from application.rebuild import load_evaluation
from schemas.errors import InternalError
from schemas.gates import Gate
from worker.stored_evaluation import StoredEvaluation


class PublishedEvaluation(NamedTuple):
    """A published Evaluation.

    Attributes:
        ref: Its version, by digest, which covers dataset and scorers.
        rows: Reads the rows of its dataset.
        loaded: The Evaluation, ready to run in this process; None if an application runs it.
    """

    ref: str
    rows: Callable[[], Sequence[dict[str, Any]]]
    loaded: weave.Evaluation | None = None

    @classmethod
    def of(cls, loaded: weave.Evaluation) -> Self:
        """The evaluation that this process runs itself.

        Raises:
            InternalError: It is not published.
        """
        ref = get_ref(loaded)
        if ref is None:
            raise InternalError("A version is compared under an evaluation that is not published.")
        return cls(ref.uri, lambda: [dict(row) for row in loaded.dataset.rows], loaded)


def published_evaluation(gate: Gate) -> PublishedEvaluation:
    """Find the Evaluation of a gate, and load it unless an application runs it.

    Raises:
        ConfigurationError: There is no such Evaluation, or this worker may not run its scorers.
        PlatformError: The trace server does not answer.
    """
    if gate.application:
        stored = StoredEvaluation(gate.evaluation.uri)
        return PublishedEvaluation(stored.uri, stored.rows)
    loaded = load_evaluation(gate.evaluation.uri, allow_stored_code=gate.allow_stored_code)
    return PublishedEvaluation.of(loaded)
