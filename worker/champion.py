"""The champion's evaluation on the rows that a version is compared on."""

from typing import NamedTuple

import weave
from weave.trace.ref_util import get_ref
from weave.trace.weave_client import WeaveClient

from application.stored import part, read
from registry.champions import PromotedVersion
from schemas.errors import ConfigurationError, EvidenceError, InternalError
from schemas.refs import ArtifactRef, WeaveRef
from schemas.verdicts import ChampionEvidence
from worker.context import WeighingContext, prepare_evaluation, serve_version
from worker.evaluation import run_evaluation
from worker.verdict.evidence import AFTER_A_WHILE, Evaluated, evaluation_calls, read_back


class EvaluatedChampion(NamedTuple):
    """A champion with its evaluation.

    Attributes:
        evidence: What the verdict records about it.
        evaluated: Its evaluation, with every row.
    """

    evidence: ChampionEvidence
    evaluated: Evaluated


def evaluate_champion(
    context: WeighingContext, champion: PromotedVersion, evaluation: weave.Evaluation
) -> EvaluatedChampion:
    """The champion's rows under an evaluation.

    They come from the evaluation that promoted it, if that was this one in full; else from an
    evaluation of the same RagModel version for an earlier comparison; else the champion is
    evaluated again, once: the next comparison finds that call in Weave.

    Args:
        champion: The version that holds the gate's alias.
        evaluation: A published one; its digest covers dataset and scorers.

    Raises:
        ArtifactError: Its chat model can no longer be served.
        ConfigurationError: It is no RagModel, or its chat model is not in W&B.
        EvidenceError: The new evaluation is incomplete.
    """
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("A champion is compared under an evaluation that is not published.")
    model, own = _rag_model(champion), champion.record.weave_call if champion.record else None
    if own and (found := _whole(context.recording.client, own, model, ref.uri)):
        return _champion(champion, model, found, again=False)
    for call in evaluation_calls(context.recording.client, ref.uri, model.uri):
        if call != own and (found := _whole(context.recording.client, call, model, ref.uri)):
            return _champion(champion, model, found, again=True)
    found = _evaluate_again(context, champion, model, evaluation)
    return _champion(champion, model, found, again=True)


def recorded_champion(client: WeaveClient, evidence: ChampionEvidence) -> EvaluatedChampion:
    """The champion of an earlier verdict, with the evaluation that it was compared by.

    Raises:
        EvidenceError: Its evaluation is no longer on the trace server.
    """
    return EvaluatedChampion(evidence, read_back(client, evidence.weave_call, waits=()))


def _rag_model(champion: PromotedVersion) -> WeaveRef:
    if champion.rag_model is None:
        raise ConfigurationError(
            f"The champion {champion.ref} is no reference to a RagModel, so nothing can be compared"
            " with it.",
            fix="Give the gate's alias to a version that a gate promoted, or remove it.",
        )
    return champion.rag_model


def _whole(client: WeaveClient, call: str, model: WeaveRef, evaluation: str) -> Evaluated | None:
    """A call's evaluation, if it is of this model under this evaluation, with every row."""
    try:
        found = read_back(client, call, waits=AFTER_A_WHILE[:1])
    except EvidenceError:
        return None
    is_of_both = (found.evaluation, found.model) == (evaluation, model.uri)
    return found if is_of_both and len(found.rows) == found.of_rows else None


def _evaluate_again(
    context: WeighingContext,
    champion: PromotedVersion,
    model: WeaveRef,
    evaluation: weave.Evaluation,
) -> Evaluated:
    version = _chat_model(champion, model)
    with context.clock.step("evaluate"):
        context.clock.report(f"evaluating the champion {champion.ref} again")
        with (
            serve_version(context, version, model) as served,
            prepare_evaluation(context, served, evaluation) as prepared,
        ):
            return run_evaluation(
                context.recording.client,
                context.recording.run,
                prepared,
                served.rebuilt.model,
                concurrency=served.concurrency,
            )


def _chat_model(champion: PromotedVersion, model: WeaveRef) -> ArtifactRef:
    name = str(part(read(model.uri), "chat_model").fields["chat_model"])
    try:
        return ArtifactRef.parse(name)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The champion {champion.ref} cannot be evaluated again: its chat model {name} is no"
            " version in W&B.",
            fix="Remove the gate's alias from it; the next version is then the first champion.",
        ) from error


def _champion(
    champion: PromotedVersion, model: WeaveRef, evaluated: Evaluated, *, again: bool
) -> EvaluatedChampion:
    evidence = ChampionEvidence(
        version=champion.ref,
        rag_model=model,
        weave_call=evaluated.call,
        evaluated_again=again,
    )
    return EvaluatedChampion(evidence, evaluated)
