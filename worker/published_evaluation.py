"""The published Evaluation of a gate, as the worker needs it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import weave
from pydantic import BaseModel, ConfigDict
from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.ref_util import get_ref
from weave.trace.refs import ObjectRef

from application.rebuild import load_evaluation
from application.stored import read
from application.trace_call import trace_call
from schemas.errors import ConfigurationError, InternalError
from schemas.gates import Gate


class PublishedEvaluation(BaseModel):
    """A published Evaluation.

    Attributes:
        ref: Its version, by digest, which covers dataset and scorers.
        dataset: Its dataset's version.
        loaded: The Evaluation, ready to run in this process; None if an application runs it.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    ref: str
    dataset: ObjectRef
    loaded: weave.Evaluation | None = None

    @classmethod
    def of(cls, loaded: weave.Evaluation) -> Self:
        """The evaluation that this process runs itself.

        Raises:
            InternalError: It is not published.
        """
        ref, dataset = get_ref(loaded), get_ref(loaded.dataset)
        if ref is None or dataset is None:
            raise InternalError("A version is compared under an evaluation that is not published.")
        return cls(ref=ref.uri, dataset=dataset, loaded=loaded)

    @cached_property
    def rows(self) -> Sequence[dict[str, Any]]:
        """The dataset's rows."""
        if self.loaded is not None:
            return [dict(row) for row in self.loaded.dataset.rows]
        with trace_call(f"read {self.dataset.uri}"):
            return [dict(row) for row in require_weave_client().get(self.dataset).rows]


def published_evaluation(gate: Gate) -> PublishedEvaluation:
    """Load the Evaluation of a gate.

    Raises:
        ConfigurationError: There is no such Evaluation, or this worker may not run its scorers.
        PlatformError: The trace server does not answer.
    """
    if gate.application is None:
        loaded = load_evaluation(gate.evaluation.uri, allow_stored_code=gate.allow_stored_code)
        return PublishedEvaluation.of(loaded)
    stored = read(gate.evaluation.uri)
    dataset = stored.fields.get("dataset")
    if not isinstance(dataset, ObjectRef):
        raise ConfigurationError(
            f"{gate.evaluation.uri} is of class {stored.class_name}, not an Evaluation.",
            fix="Name a published Evaluation in the gate's evaluation.",
        )
    return PublishedEvaluation(ref=stored.ref.uri, dataset=dataset)
