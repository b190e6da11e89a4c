"""The champion's evaluation on the rows that a version is compared on."""

from typing import NamedTuple

from weave.trace.weave_client import WeaveClient

from application.exchange import exchanged_value
from application.stored import part, read
from registry.champions import PromotedVersion
from schemas.applications import Application
from schemas.errors import ConfigurationError, EvidenceError
from schemas.refs import ArtifactRef, WeaveRef
from schemas.verdicts import ChampionEvidence
from worker.context import WeighingContext, serve_version
from worker.evaluation import evaluate_beside
from worker.published_evaluation import PublishedEvaluation
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
    context: WeighingContext, champion: PromotedVersion, evaluation: PublishedEvaluation
) -> EvaluatedChampion:
    """The champion's rows under an evaluation.

    They come from the evaluation that promoted it, if that was this one in full; else from an
    evaluation of the same RagModel version for an earlier comparison; else the champion is
    evaluated again, once: the next comparison finds that call in Weave. Rows that an application
    made with other versions of its packages do not count.

    Args:
        champion: The version that holds the gate's alias.
        evaluation: The evaluation of the version that it is compared with.

    Raises:
        ArtifactError: Its chat model can no longer be served.
        ConfigurationError: It is no RagModel, or its chat model is not in W&B.
        EvidenceError: The new evaluation is incomplete.
    """
    model, own = _rag_model(champion), champion.record.weave_call if champion.record else None
    wanted = _Wanted(
        evaluation.ref,
        model.uri,
        context.applications.environment() if context.applications else None,
    )
    if own and (found := _whole(context.recording.client, own, wanted)):
        return _champion(champion, model, found, again=False)
    for call in evaluation_calls(context.recording.client, evaluation.ref, model.uri):
        if call != own and (found := _whole(context.recording.client, call, wanted)):
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


class _Wanted(NamedTuple):
    """What an evaluation must be of to be compared with: rows of other code are not."""

    evaluation: str
    model: str
    environment: str | None


def _whole(client: WeaveClient, call: str, wanted: _Wanted) -> Evaluated | None:
    """A call's evaluation, if it is the wanted one, with every row."""
    try:
        found = read_back(client, call, waits=AFTER_A_WHILE[:1])
    except EvidenceError:
        return None
    is_wanted = wanted == (found.evaluation, found.model, found.environment)
    return found if is_wanted and len(found.rows) == found.of_rows else None


def _evaluate_again(
    context: WeighingContext,
    champion: PromotedVersion,
    model: WeaveRef,
    evaluation: PublishedEvaluation,
) -> Evaluated:
    version = _chat_model(champion, model, context.gate.application)
    with context.clock.step("evaluate"):
        context.clock.report(f"evaluating the champion {champion.ref} again")
        with serve_version(context, version, model) as served:
            return evaluate_beside(context, served, evaluation)


def _chat_model(
    champion: PromotedVersion, model: WeaveRef, application: Application | None
) -> ArtifactRef:
    if application:
        name = exchanged_value(model.uri, application.exchange)
    else:
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
