"""Where the champion's rows come from, and that it is evaluated again at most once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
import wandb
import weave
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from weave.trace.weave_client import WeaveClient

from application.rebuild import rebuild
from bus.ledger import Ledger
from engine import Engine
from registry.calls import wandb_api
from registry.champions import PromotedVersion
from rehearsal import app_team
from schemas.errors import ConfigurationError, EvidenceError
from schemas.gates import Gate
from schemas.refs import ArtifactRef, WeaveRef
from schemas.settings import Settings
from tests.promoted import record
from tests.worker.weighed import (
    Says,
    correct,
    evaluated,
    evaluation,
    gate_of,
    lease_of,
    weighing_of,
)
from worker.champion import evaluate_champion, recorded_champion
from worker.context import WeighingContext
from worker.evaluation import evaluate
from worker.published_evaluation import PublishedEvaluation
from worker.recording import Recording
from worker.steps import StepClock
from worker.verdict.evidence import Evaluated

_KNOWS = 8
_NOT_TO_BE_USED = cast("Engine", None)


class _Endpoint:
    """Says yes."""

    name = "champion"
    max_concurrency = 2

    async def chat(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> ChatCompletion:
        message = ChatCompletionMessage(role="assistant", content="yes")
        choice = Choice(index=0, finish_reason="stop", message=message)
        return ChatCompletion(
            id="1", object="chat.completion", created=0, model="m", choices=[choice]
        )


class _Engine:
    """Serves whatever it is given, and keeps what that was."""

    def __init__(self) -> None:
        self.served: list[str] = []

    @contextmanager
    def serve(self, _folder: object, name: str, *_: object, **__: object) -> Iterator[_Endpoint]:
        self.served.append(name)
        yield _Endpoint()


@pytest.fixture
def weighing_gate(weave_project: WeaveClient, target: str) -> Gate:
    return gate_of(weave_project, target)


@pytest.fixture
def context(
    weave_project: WeaveClient,
    weighing_gate: Gate,
    version: ArtifactRef,
    settings: Settings,
    ledger: Ledger,
    run: wandb.Run,
) -> WeighingContext:
    record = weighing_of(weighing_gate, version)
    clock = StepClock(lease_of(ledger, record))
    recording = Recording(weave_project, run, wandb_api(settings.wandb_timeout))
    return WeighingContext(record, settings, _NOT_TO_BE_USED, clock, recording, together=False)


def _champion(context: WeighingContext, rag_model: str, own: str | None) -> PromotedVersion:
    """Who holds the alias, with the evaluation that promoted it; without a record if None."""
    ref = context.gate.promote.to.at("v0")
    why = record(context.gate, champion=None, day=1).model_copy(update={"weave_call": own})
    return PromotedVersion(
        ref=ref, rag_model=WeaveRef.parse(rag_model), record=why if own else None
    )


def _published() -> PublishedEvaluation:
    return PublishedEvaluation.of(evaluation())


def _evaluated(context: WeighingContext, knows: int = _KNOWS) -> Evaluated:
    return evaluated(context.recording.client, context.recording.run, knows)


def _of(context: WeighingContext, *scorers: Any, stopped: bool = False) -> Evaluated:
    """Another evaluation of the same model, or one that was stopped early."""
    return evaluate(
        context.recording.client,
        context.recording.run,
        evaluation(*scorers),
        Says(knows=_KNOWS),
        concurrency=4,
        is_decided=(lambda _rows: True) if stopped else None,
        batch=4,
    )


def test_the_rows_are_those_of_the_evaluation_that_promoted_it(context: WeighingContext) -> None:
    own = _evaluated(context)
    _evaluated(context)
    found = evaluate_champion(context, _champion(context, own.model, own.call), _published())
    assert found.evaluated == own
    assert found.evidence.weave_call == own.call
    assert not found.evidence.evaluated_again
    assert found.evidence.version == context.gate.promote.to.at("v0")
    assert found.evidence.rag_model.uri == own.model


def test_an_evaluation_for_an_earlier_comparison_is_found_again(context: WeighingContext) -> None:
    own, later = _of(context, correct), _evaluated(context)
    _evaluated(context, knows=3)
    found = evaluate_champion(context, _champion(context, own.model, own.call), _published())
    assert found.evaluated == later
    assert found.evidence.evaluated_again


def test_an_evaluation_that_stopped_early_is_not_enough(context: WeighingContext) -> None:
    whole = _evaluated(context)
    own = _of(context, stopped=True)
    assert (own.model, own.evaluation, len(own.rows)) == (whole.model, whole.evaluation, 4)
    found = evaluate_champion(context, _champion(context, own.model, own.call), _published())
    assert found.evaluated == whole
    assert found.evidence.evaluated_again


def test_incomplete_evidence_is_not_used(context: WeighingContext) -> None:
    other, own = _evaluated(context), _evaluated(context)
    context.recording.client.delete_calls([own.rows[0].call])
    found = evaluate_champion(context, _champion(context, own.model, own.call), _published())
    assert found.evaluated == other


def test_a_champion_without_a_record_is_found_by_its_model(context: WeighingContext) -> None:
    before = _evaluated(context)
    found = evaluate_champion(context, _champion(context, before.model, None), _published())
    assert found.evaluated == before
    assert found.evidence.evaluated_again


def test_a_champion_without_rows_is_evaluated_again_once(
    context: WeighingContext, log_files: Callable[..., ArtifactRef]
) -> None:
    version = log_files({"weights.safetensors": b"the champion's"})
    application = weave.publish(app_team.rag_model(), "RagModel").uri()
    champion = _champion(context, rebuild(application, version.uri).ref.uri, None)
    engine = _Engine()
    context = context._replace(engine=cast("Engine", engine))
    first, second = (evaluate_champion(context, champion, _published()) for _ in range(2))
    assert first == second
    assert first.evidence.evaluated_again
    assert first.evaluated.model == str(champion.rag_model)
    assert first.evaluated.summary["correct"]["true_fraction"] == 1.0
    assert engine.served == [str(version)]
    assert context.clock.seconds.evaluate > 0
    assert context.recording.run.summary.get("correct") is None  # type: ignore[no-untyped-call]


def test_a_champion_whose_chat_model_is_not_in_w_and_b_is_a_configuration_error(
    context: WeighingContext,
) -> None:
    application = app_team.rag_model()
    base = application.chat_model.chat_model
    uri = weave.publish(application, "RagModel").uri()
    sentence = f"champion .*:v0 cannot be evaluated again: its chat model {base} is no version"
    with pytest.raises(ConfigurationError, match=sentence):
        evaluate_champion(context, _champion(context, uri, None), _published())


def test_a_champion_that_is_no_rag_model_is_a_configuration_error(context: WeighingContext) -> None:
    champion = _champion(context, _evaluated(context).model, None).model_copy(
        update={"rag_model": None}
    )
    with pytest.raises(ConfigurationError, match=r"champion .*:v0 is no reference to a RagModel"):
        evaluate_champion(context, champion, _published())


def test_the_champion_of_an_earlier_verdict_is_read_as_it_was(context: WeighingContext) -> None:
    own = _evaluated(context)
    found = evaluate_champion(context, _champion(context, own.model, own.call), _published())
    assert recorded_champion(context.recording.client, found.evidence) == found
    context.recording.client.delete_calls([own.rows[0].call])
    with pytest.raises(EvidenceError, match=f"{own.call} has 11 of 12 rows"):
        recorded_champion(context.recording.client, found.evidence)
