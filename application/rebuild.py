"""Step 2: rebuild the RAG application around the new version, and load its evaluation.

Both are made from the data that the Weave server has stored. No stored code runs, unless the gate
allows it for the scorers.
"""

from typing import Any

import weave
from pydantic import BaseModel, ConfigDict
from weave.trace.ref_util import set_ref
from weave.trace.refs import ObjectRef, OpRef
from weave.trace.urls import object_version_path

from application.op_source import source_digest, stored_source_digest
from application.rag import ChatModel, LLMJudge, RagModel
from application.rag.scorers import SCORERS
from application.stored import Stored, make, make_unchanged, part, read
from application.trace_call import trace_call, uncached_trace_call
from schemas.errors import ConfigurationError
from schemas.gates import ChatModelParameters
from schemas.refs import WeaveRef


class RebuiltModel(BaseModel):
    """A published RagModel with a new chat model.

    Attributes:
        model: The instance that predicts in this process.
        ref: Its version, by digest.
        url: Its page in Weave.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    model: RagModel
    ref: WeaveRef
    url: str


def rebuild(
    rag_model: str, chat_model: str, parameters: ChatModelParameters | None = None
) -> RebuiltModel:
    """Replace a published RagModel's chat model and publish the result under the same name.

    Everything else keeps its version. That includes the vector store, so nothing is embedded
    again. The same arguments always give the same version.

    Args:
        rag_model: Reference of the published RagModel.
        chat_model: URI of the new model version, ``wandb-artifact:///...``.
        parameters: Chat model parameters that override the published ones.

    Raises:
        ConfigurationError: There is no such object, it is not a RagModel, or a parameter does not
            fit it.
    """
    stored = _stored_rag_model(rag_model)
    model = make(RagModel, stored, chat_model=_chat_model(stored, chat_model, parameters))
    with uncached_trace_call(f"publish {stored.ref.name}"):
        published = weave.publish(model, stored.ref.name)
    ref = WeaveRef(
        entity=published.entity,
        project=published.project,
        name=published.name,
        digest=published.digest,
    )
    url = object_version_path(ref.entity, ref.project, ref.name, ref.digest)
    return RebuiltModel(model=model, ref=ref, url=url)


def resolved(rag_model: str) -> str:
    """Return the reference of a published RagModel by digest, which never moves.

    Raises:
        ConfigurationError: There is no such object, or it is not a RagModel.
    """
    return str(_stored_rag_model(rag_model).ref.uri)


def load_chat_model(
    rag_model: str, chat_model: str, parameters: ChatModelParameters | None = None
) -> ChatModel:
    """Return the chat model that ``rebuild`` would use, without publishing anything.

    Raises:
        ConfigurationError: As for ``rebuild``.
    """
    return _chat_model(_stored_rag_model(rag_model), chat_model, parameters)


def _stored_rag_model(rag_model: str) -> Stored:
    stored = read(rag_model)
    if stored.class_name != RagModel.__name__:
        raise ConfigurationError(
            f"{rag_model} is of class {stored.class_name}, not RagModel.",
            fix="Name a published RagModel in the gate's rag_model.",
        )
    return stored


def _chat_model(rag_model: Stored, uri: str, parameters: ChatModelParameters | None) -> ChatModel:
    """Make a ChatModel from the stored one, of any class, with another version and parameters."""
    stored = part(rag_model, "chat_model")
    overrides = parameters.model_dump(exclude_none=True) if parameters else {}
    return make(ChatModel, stored, chat_model=uri, **overrides)


def load_evaluation(evaluation: str, *, allow_stored_code: bool = False) -> weave.Evaluation:
    """Load a published Evaluation, ready to run in this process.

    Args:
        evaluation: Reference of the Evaluation.
        allow_stored_code: Whether scorers may run the source that the server has stored. If not,
            a scorer is replaced by the op in application/rag/scorers.py with the same source. A
            judge is always made from its fields.

    Returns:
        The Evaluation, under its published version.

    Raises:
        ConfigurationError: There is no such Evaluation, or it needs stored code and may not run it.
    """
    stored = read(evaluation)
    if stored.class_name != weave.Evaluation.__name__:
        raise ConfigurationError(
            f"{evaluation} is of class {stored.class_name}, not Evaluation.",
            fix="Name a published Evaluation in the gate's evaluation.",
        )
    if allow_stored_code:
        with trace_call(f"read {evaluation} with its code"):
            as_stored: weave.Evaluation = weave.ref(stored.ref.uri).get()
        return as_stored
    scorers = [_local_scorer(ref, evaluation) for ref in stored.fields.get("scorers") or []]
    if stored.fields.get("preprocess_model_input") is not None:
        raise _needs_stored_code(evaluation, "preprocess_model_input")
    loaded = make(weave.Evaluation, stored, scorers=scorers)
    set_ref(loaded, stored.ref)
    return loaded


def _local_scorer(ref: ObjectRef, evaluation: str) -> Any:
    """Return this installation's equivalent of a stored scorer, under the stored version."""
    if isinstance(ref, OpRef):
        return _local_op(ref, evaluation)
    stored = read(ref.uri)
    if stored.class_name != LLMJudge.__name__:
        raise _needs_stored_code(evaluation, f"scorer {ref.name}")
    return make_unchanged(LLMJudge, stored)


def _local_op(ref: OpRef, evaluation: str) -> Any:
    """Return this installation's op with the same source as the stored one."""
    op = SCORERS.get(ref.name)
    if op is None or source_digest(op) != stored_source_digest(ref):
        raise _needs_stored_code(evaluation, f"scorer {ref.name}")
    set_ref(op, ref)
    return op


def _needs_stored_code(evaluation: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The {what} of {evaluation} is code that this installation does not have.",
        fix="Publish the evaluation with the scorers of application/rag, or set "
        "allow_stored_code: true in the gate to run the stored code.",
    )
