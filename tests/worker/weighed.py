"""Small evaluations in the local W&B, and verdicts on them as the pipeline makes them."""

from datetime import UTC, datetime
from typing import Any

import wandb
import weave
from weave.trace.weave_client import WeaveClient

from bus.lease import Lease
from bus.ledger import Ledger
from engine.external_engine import ExternalEngine
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import ChampionEvidence, Evidence, Outcome, Verdict
from schemas.weighings import WeighingRecord
from worker.champion import EvaluatedChampion
from worker.evaluation import run_evaluation
from worker.pipeline import weigh_version
from worker.steps import StepClock
from worker.verdict.checks import check_thresholds, decide_outcome, explain_outcome
from worker.verdict.evidence import Evaluated

_LEASE = 600.0  # seconds: longer than any test
_ROWS = [
    {"id": f"{number:02}", "question": f"q{number}", "answer": "yes", "share": number / 40}
    for number in range(12)
]


class Says(weave.Model):
    """Knows the answers to the first questions."""

    knows: int

    @weave.op
    async def predict(self, question: str) -> dict[str, str]:
        return {"answer": "yes" if int(question[1:]) < self.knows else "no"}


@weave.op
def correct(answer: str, output: dict[str, str]) -> bool:
    return output["answer"] == answer


@weave.op
def similar(share: float, answer: str, output: dict[str, str]) -> float:
    return 1 - share if output["answer"] == answer else share


def evaluation(*scorers: Any) -> weave.Evaluation:
    """A published one; the same scorers give the same version."""
    dataset = weave.Dataset(name="rows", rows=_ROWS)
    made = weave.Evaluation(dataset=dataset, scorers=list(scorers or (correct, similar)))
    weave.publish(made)
    return made


def evaluated(client: WeaveClient, run: wandb.Run, knows: int) -> Evaluated:
    """The evaluation of a version that knows so many answers."""
    return run_evaluation(client, run, evaluation(), Says(knows=knows), concurrency=4)


def gate_of(client: WeaveClient, target: str, **changes: Any) -> Gate:
    """A gate of the project that promotes to this collection."""
    objects = f"weave:///{client.entity}/{client.project}/object"
    return Gate.model_validate(
        {
            "name": "climate-rag",
            "watch": ["wandb32/wandb-registry-RAG Chat Models/*"],
            "rag_model": f"{objects}/Says:v0",
            "evaluation": f"{objects}/rows-evaluation:latest",
            "thresholds": [
                {"metric": "correct.true_fraction", "at_least": 0.5},
                {"metric": "similar.mean", "no_worse_than": "champion", "margin": 0.5},
                {"metric": "correct.true_fraction", "no_worse_than": "champion", "margin": 0.9},
            ],
            "promote": {"to": target, "aliases": ["production"]},
        }
        | changes
    )


def verdict_of(
    gate: Gate,
    version: ArtifactRef,
    run: wandb.Run,
    candidate: Evaluated,
    champion: EvaluatedChampion | None = None,
    *,
    of: Outcome | None = None,
) -> Verdict:
    """The verdict on a version, as the pipeline reaches it.

    Args:
        of: another outcome than that of the checks.
    """
    checks = check_thresholds(gate, candidate, champion and champion.evaluated)
    return Verdict(
        weighing=WeighingId.of(gate.name, version),
        source="webhook",
        outcome=of or decide_outcome(checks),
        reason=explain_outcome(checks),
        gate_digest=gate.digest,
        checks=checks,
        evidence=Evidence(
            weave_call=candidate.call,
            weave_url=candidate.url,
            run_url=str(run.url),
            rag_model=candidate.model,
            evaluation=candidate.evaluation,
            dataset=candidate.dataset,
            rows=len(candidate.rows),
            of_rows=candidate.of_rows,
            champion=champion.evidence if champion else None,
        ),
    )


def champion_of(ref: ArtifactRef, found: Evaluated) -> EvaluatedChampion:
    """A champion whose rows are those of its own evaluation."""
    evidence = ChampionEvidence(
        version=str(ref), rag_model=found.model, weave_call=found.call, evaluated_again=False
    )
    return EvaluatedChampion(evidence, found)


def weighing_of(gate: Gate, version: ArtifactRef) -> WeighingRecord:
    """The ledger's record while a worker weighs the version."""
    return WeighingRecord(
        id=WeighingId.of(gate.name, version),
        gate=gate,
        event=ModelVersionEvent(ref=version, source="webhook", force=True),
        state="running",
        opened_at=datetime(2026, 1, 1, tzinfo=UTC),
        queued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def lease_of(ledger: Ledger, record: WeighingRecord) -> Lease:
    """The lease of a worker that has just claimed the weighing."""
    ledger.open(record.id, record.gate, record.event)
    token = ledger.claim(record.id, "a worker")
    assert token is not None
    return Lease(ledger, record.id, token, _LEASE)


def weigh_by(
    engine_url: str, gate: Gate, version: ArtifactRef, settings: Settings, ledger: Ledger
) -> Verdict:
    """Weigh a version as a worker does, whose engine is a server that runs already."""
    record = weighing_of(gate, version)
    external = settings.model_copy(update={"engine_url": engine_url})
    clock = StepClock(lease_of(ledger, record))
    return weigh_version(record, external, ExternalEngine(external), clock)


def allowed() -> None:
    """This worker may go on."""
