"""The champion's side of a comparison: who it is, and how it answered the same rows."""

from typing import NamedTuple

import weave
from weave.trace.ref_util import get_ref
from weave.trace.weave_client import WeaveClient

from application.stored import part, read
from registry.champions import PromotedVersion
from schemas.errors import ConfigurationError, EvidenceError, InternalError
from schemas.refs import ArtifactRef, WeaveRef
from schemas.verdicts import ChampionEvidence
from worker.context import WeighingContext, report_progress, serve_version
from worker.evaluation import run_evaluation
from worker.verdict.evidence import AFTER_A_WHILE, Evaluated, evaluation_calls, read_back


class EvaluatedChampion(NamedTuple):
    """A champion with its evaluation.

    Attributes:
        evidence: what the verdict says of it.
        evaluated: its evaluation, every row of it.
    """

    evidence: ChampionEvidence
    evaluated: Evaluated


def evaluated_champion(
    context: WeighingContext, champion: PromotedVersion, evaluation: weave.Evaluation
) -> EvaluatedChampion:
    """The champion's rows under an evaluation.

    They come from the evaluation that promoted it, if that was this one in full; else from one
    that was made of the same RagModel version for an earlier comparison; else the champion is
    evaluated again, once: the next comparison finds that call in Weave.

    Args:
        champion: who holds the gate's alias.
        evaluation: a published one; its digest covers dataset and scorers.

    Raises:
        ArtifactError: its chat model cannot be served any more.
        ConfigurationError: it is no RagModel, or its chat model is not in W&B.
        EvidenceError: what was evaluated again is incomplete.
    """
    ref = get_ref(evaluation)
    if ref is None:
        raise InternalError("A champion is compared under an evaluation that is not published.")
    model, own = _rag_model(champion), champion.record.weave_call if champion.record else None
    if own and (found := _whole(context.client, own, model.uri, ref.uri)):
        return _champion(champion, model, found, again=False)
    for call in evaluation_calls(context.client, ref.uri, model.uri):
        if call != own and (found := _whole(context.client, call, model.uri, ref.uri)):
            return _champion(champion, model, found, again=True)
    found = _evaluated_again(context, champion, model, evaluation)
    return _champion(champion, model, found, again=True)


def recorded_champion(client: WeaveClient, evidence: ChampionEvidence) -> EvaluatedChampion:
    """The champion of an earlier verdict, as it was then.

    Raises:
        EvidenceError: its evaluation is not on the trace server any more.
    """
    return EvaluatedChampion(evidence, read_back(client, evidence.weave_call, looks=()))


def _rag_model(champion: PromotedVersion) -> WeaveRef:
    if champion.rag_model is None:
        raise ConfigurationError(
            f"The champion {champion.ref} is no reference to a RagModel, so nothing can be compared"
            " with it.",
            fix="Give the gate's alias to a version that a gate promoted, or take it away.",
        )
    return champion.rag_model


def _whole(client: WeaveClient, call: str, model: str, evaluation: str) -> Evaluated | None:
    """A call's evaluation, if it is this one of this model and nothing is missing."""
    try:
        found = read_back(client, call, looks=AFTER_A_WHILE[:1])
    except EvidenceError:
        return None
    is_of_both = (found.evaluation, found.model) == (evaluation, model)
    return found if is_of_both and len(found.rows) == found.of_rows else None


def _evaluated_again(
    context: WeighingContext,
    champion: PromotedVersion,
    model: WeaveRef,
    evaluation: weave.Evaluation,
) -> Evaluated:
    version = _chat_model(champion, model)
    with context.clock.step("evaluate"):
        context.clock.report(f"evaluating the champion {champion.ref} again")
        with (
            serve_version(context, version, model) as answers,
            report_progress(context, version, answers, evaluation) as telling,
        ):
            return run_evaluation(
                context.client,
                context.run,
                telling,
                answers.rebuilt.model,
                concurrency=answers.concurrency,
            )


def _chat_model(champion: PromotedVersion, model: WeaveRef) -> ArtifactRef:
    name = str(part(read(model.uri), "chat_model").fields["chat_model"])
    try:
        return ArtifactRef.parse(name)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"The champion {champion.ref} cannot be evaluated again: its chat model {name} is no"
            " version in W&B.",
            fix="Take the gate's alias from it; the next version is then the first champion.",
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
