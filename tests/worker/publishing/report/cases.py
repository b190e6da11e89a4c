"""Realistic verdicts on the rehearsal's own questions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import rehearsal.climate
from schemas.events import WeighingId
from schemas.gates import Gate
from schemas.verdicts import (
    ChampionEvidence,
    Check,
    Comparison,
    Decision,
    Evidence,
    Timings,
    Verdict,
)
from worker.publishing.predictions import Prediction
from worker.verdict.checks import NO_CHAMPION

_WEAVE = "weave:///ada/climate/object"
EARLY = 32  # rows
_QUESTIONS = Path(rehearsal.climate.__file__).with_name("questions.jsonl")

GATE = Gate.model_validate(
    {
        "name": "climate-rag",
        "watch": ["acme/wandb-registry-RAG Chat Models/*"],
        "rag_model": f"{_WEAVE}/RagModel:v0",
        "evaluation": f"{_WEAVE}/climate_rag_eval:v2",
        "chat_model": {"cm_temperature": 0.0, "cm_max_new_tokens": 32},
        "thresholds": [
            {"metric": "answer_correctness.mean", "at_least": 0.55},
            {"metric": "answer_correctness.mean", "slice": {"topic": "ice"}, "at_least": 0.5},
            {"metric": "model_latency.mean", "at_most": 2},
            {
                "metric": "answer_correctness.mean",
                "no_worse_than": "champion",
                "margin": 0.05,
                "cluster": "document_id",
            },
            {
                "metric": "exact_match.true_fraction",
                "better_than": "champion",
                "detectable": 0.1,
            },
            {"metric": "model_latency.mean", "no_worse_than": "champion", "margin": 0.2},
        ],
        "promote": {"to": "acme/wandb-registry-RAG Models/RAG Model", "aliases": ["production"]},
        "early_stop": {"batch": 16},
        "approval": "required",
    }
)
_ID = WeighingId(
    gate="climate-rag",
    collection="acme/wandb-registry-RAG Chat Models/Finetuned SmolLM2",
    number=3,
)
_SECONDS = Timings(download=3.412, rebuild=11.9, evaluate=142.25, weigh=0.613, promote=4.08)
EVIDENCE = Evidence(
    weave_call="0199a1c2-77ab-7f31-9d21-5a4c8f0b6e11",
    weave_url="https://wandb.ai/ada/climate/weave/calls/0199a1c2-77ab-7f31-9d21",
    run_url="https://wandb.ai/ada/climate/runs/8h2k1x0q",
    rag_model=f"{_WEAVE}/RagModel:Zk0PqW6sV1uJ9yT3xB7nC5mL8aR2dF4gH6jK1pQ3sU0",
    evaluation=f"{_WEAVE}/climate_rag_eval:b7TqX1mN4cV9zL2kJ6hG8fD3sA5pO0iU7yR1eW4tQ9x",
    dataset=f"{_WEAVE}/climate_questions:Lr5Yt8Vw2Qx1Zc4Bn7Mk0Jh3Gf6Ds9Pa2Io5Uy8Tr1E",
    rows=66,
    of_rows=66,
    champion=ChampionEvidence(
        version="acme/wandb-registry-RAG Models/RAG Model:v1",
        rag_model=f"{_WEAVE}/RagModel:A1s2D3f4G5h6J7k8L9q0W1e2R3t4Y5u6I7o8P9z0X1c",
        weave_call="01998f00-12cd-7a00-8e11-3b2c1d0e9f88",
        evaluated_again=True,
    ),
)


def comparison(
    champion: float, difference: float, low: float, high: float, **more: object
) -> Comparison:
    return Comparison.model_validate(
        {
            "champion": champion,
            "difference": difference,
            "interval": (low, high),
            "confidence": 0.95,
            "method": "paired bootstrap, BCa, 10,000 resamples",
            "detectable": 0.08391,
            "rows": 66,
            **more,
        }
    )


def checks() -> tuple[Check, ...]:
    share, slice_, latency, no_worse, better, no_slower = GATE.thresholds
    return (
        Check(threshold=share, value=_mean(candidate()), passed=True),
        Check(threshold=slice_, value=0.8333333333333334, passed=True, note="On 6 rows."),
        Check(threshold=latency, value=1.4382, passed=True),
        Check(
            threshold=no_worse,
            value=_mean(candidate()),
            passed=True,
            comparison=comparison(_mean(champion()), _gain(), -0.0313, 0.1181, clusters=22),
        ),
        Check(
            threshold=better,
            value=0.5606060606060606,
            passed=True,
            comparison=comparison(
                0.4393939393939394, 0.1212121212121212, 0.0152, 0.2273, p_value=0.0386
            ),
        ),
        Check(
            threshold=no_slower,
            value=1.4382,
            passed=True,
            comparison=comparison(1.425, 0.0132, -0.091, 0.1203, detectable=0.1502),
        ),
    )


def promoted() -> Verdict:
    return Verdict(
        weighing=_ID,
        source="webhook",
        outcome="promoted",
        reason="All 6 thresholds hold.",
        gate_digest=GATE.digest,
        checks=checks(),
        evidence=EVIDENCE,
        promoted_ref="acme/wandb-registry-RAG Models/RAG Model:v2",
        decision=Decision(
            approved=True,
            by="ada",
            why="Read the three lost rows; the champion guessed them.",
            at=datetime(2026, 3, 2, 14, 5, tzinfo=UTC),
        ),
        seconds=_SECONDS,
    )


def awaiting() -> Verdict:
    return promoted().model_copy(
        update={
            "outcome": "awaiting approval",
            "decision": None,
            "promoted_ref": None,
            "seconds": _SECONDS.model_copy(update={"promote": 0.0}),
        }
    )


def rejected() -> Verdict:
    """Stopped after ``EARLY`` rows, with the predictions of version and champion swapped."""
    share, _, _, no_worse, *_ = GATE.thresholds
    value = _mean(champion()[:EARLY])
    before = _mean(candidate()[:EARLY])
    compared = comparison(before, value - before, -0.1841, 0.0312, rows=EARLY)
    return promoted().model_copy(
        update={
            "outcome": "rejected",
            "reason": f"1 of 2 thresholds failed: {no_worse.label} is {value:.4g}, not {no_worse}:"
            f" the champion has {before:.4g}, the difference is {value - before:+.3f}"
            " [-0.184, +0.031].",
            "checks": (
                Check(threshold=share, value=value, passed=True),
                Check(threshold=no_worse, value=value, passed=False, comparison=compared),
            ),
            "evidence": EVIDENCE.model_copy(update={"rows": EARLY}),
            "promoted_ref": None,
            "decision": None,
        }
    )


def undecided() -> Verdict:
    """With a missing metric, and a slice that has too few rows."""
    share, slice_, *_ = GATE.thresholds
    few = "6 rows are fewer than the 20 that it takes"
    return promoted().model_copy(
        update={
            "outcome": "failed",
            "reason": f"2 of 2 thresholds failed: {share.label} is missing, not {share};"
            f" {slice_.label}: {few}.",
            "checks": (
                Check(threshold=share, value=None, passed=False),
                Check(threshold=slice_, value=1.0, passed=False, decidable=False, note=few),
            ),
            "promoted_ref": None,
            "decision": None,
        }
    )


def failed() -> Verdict:
    return Verdict(
        weighing=_ID,
        source="poller",
        outcome="failed",
        reason="Finetuned SmolLM2:v3 has pickled weights, pytorch_model.bin. Push safetensors.",
        seconds=Timings(download=2.2),
    )


def first() -> Verdict:
    """A first version, which has no champion to beat."""
    alone = tuple(
        check.model_copy(update={"comparison": None, "note": NO_CHAMPION})
        if check.comparison
        else check
        for check in checks()
    )
    evidence = EVIDENCE.model_copy(update={"champion": None})
    return promoted().model_copy(
        update={"checks": alone, "evidence": evidence, "decision": None, "source": "manual"}
    )


def candidate() -> list[Prediction]:
    return [_prediction(question, number % 5, number % 7) for number, question in _questions()]


def champion() -> list[Prediction]:
    return [_prediction(question, number % 4, number % 7) for number, question in _questions()]


def _mean(rows: list[Prediction]) -> float:
    return fmean(row.score for row in rows if row.score is not None)


def _gain() -> float:
    return _mean(candidate()) - _mean(champion())


def _questions() -> Iterator[tuple[int, dict[str, str]]]:
    return enumerate(map(json.loads, _QUESTIONS.read_text().splitlines()), start=1)


def _prediction(question: dict[str, str], wrong: int, in_part: int) -> Prediction:
    """Make a prediction that is wrong if ``wrong`` is 0, and partly right if ``in_part`` is 0."""
    right = wrong != 0
    return prediction(
        question["id"],
        input=question["question"],
        ground_truth=question["answer"],
        prediction=f"It is {question['answer']}." if right else "The passages do not say.",
        correct=right,
        score=float(right) if in_part else right * 2 / 3,
        error_type="" if right else ("answer" if in_part % 2 else "retrieval"),
        topic=question["topic"],
        context=("The Keeling curve rises every year.", "Methane stays for twelve years."),
    )


def prediction(name: str, **columns: object) -> Prediction:
    usual: dict[str, object] = {
        "id": name,
        "input": "What rises?",
        "ground_truth": "the sea",
        "prediction": "the sea",
        "correct": True,
        "score": 1.0,
        "confidence": None,
        "error_type": "",
        "topic": "",
    }
    return Prediction.model_validate(usual | columns)
