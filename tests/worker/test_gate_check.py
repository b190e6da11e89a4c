"""What a gate names, compared with W&B and Weave before anything is weighed."""

import os
import socket
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import wandb
import weave
from weave.trace.weave_client import WeaveClient

from local_wandb import LocalWandb
from schemas.errors import PlatformError
from schemas.gates import Gate, GateFile
from tests.application import stored_applications
from tests.application.stored_applications import published
from tests.applications.model_name import Grounded, SupportBot
from worker.gate_check import GateReport, check_gates

_TIMEOUT = 10.0  # seconds
_ROWS = [{"input": "Which card?", "target": "Visa", "area": "card"}]


@weave.op
def exact(target: str, output: dict[str, Any]) -> float:
    return float(target == output["response"])


@weave.op
def as_prompt(example: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": example["input"]}


class Named(weave.Scorer):
    """A class scorer with a name of its own, whose scores Weave summarizes."""

    @weave.op
    def score(self, output: dict[str, Any]) -> bool:  # type: ignore[override]
        return bool(output)


def _support_bot() -> SupportBot:
    return SupportBot(model_name="acme/models/Support:v1", system_message="Be brief.")


def _evaluation(**changes: Any) -> weave.Evaluation:
    fields: dict[str, Any] = {
        "name": "support_eval",
        "dataset": weave.Dataset(name="cases", rows=_ROWS),
        "scorers": [Grounded(), exact, Named(name="has answer")],
        "preprocess_model_input": as_prompt,
    }
    return weave.Evaluation(**fields | changes)


@pytest.fixture
def source(registry: Callable[[str], str]) -> str:
    """A registry for this test only, without collections."""
    return registry(f"Chat {uuid4().hex[:8]}")


@pytest.fixture
def gate_of(weave_project: WeaveClient, source: str, target: str) -> Callable[..., Gate]:
    """A gate of an application that everything fits, with changes."""
    fields = {
        "name": "support",
        "watch": [f"{source}/*"],
        "rag_model": weave.publish(_support_bot(), "SupportBot").uri,
        "evaluation": weave.publish(_evaluation(), "support_eval").uri,
        "thresholds": [{"metric": "Grounded.rate", "at_least": 0.8}],
        "promote": {"to": target, "aliases": ["production"]},
        "application": {"import": ["support"], "exchange": "model_name"},
    }
    weave_project.flush()
    return lambda **changes: Gate.model_validate(fields | changes)


def _checked(*gates: Gate) -> list[GateReport]:
    return list(check_gates(GateFile(gates=gates), _TIMEOUT))


def _faults(gate_of: Callable[..., Gate], cases: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Check all cases at once; returns the faults of each."""
    gates = [gate_of(**{"name": name} | changes) for name, changes in cases.items()]
    return {report.gate: "\n".join(report.faults) for report in _checked(*gates)}


def _metrics(*metrics: str, **fields: Any) -> dict[str, Any]:
    return {"thresholds": [{"metric": one, "at_least": 0.5} | fields for one in metrics]}


def test_a_gate_that_everything_fits_has_no_fault(
    gate_of: Callable[..., Gate], source: str, target: str
) -> None:
    (report,) = _checked(gate_of())
    assert report.faults == ()
    assert report.warnings == (f"watch: {source}/* matches no collection yet.",)
    assert report.found == (
        "watches 0 collections",
        f"promotes to {target}, which is not there yet",
        "exchanges model_name, which is 'acme/models/Support:v1'",
        "measures with Grounded, exact, has-answer",
    )


def test_a_collection_that_a_pattern_matches_is_counted(
    gate_of: Callable[..., Gate], link: Callable[..., str]
) -> None:
    path = link("one", f"collection {uuid4().hex[:8]}").rpartition(":")[0]
    (report,) = _checked(gate_of(watch=[path, f"{path}*"]))
    assert report.warnings == ()
    assert report.found[0] == "watches 1 collection"


def test_a_registry_that_does_not_exist_is_a_fault_of_each_gate_that_names_it(
    gate_of: Callable[..., Gate],
) -> None:
    missing = "wandb32/wandb-registry-Nobody's"
    faults = _faults(
        gate_of,
        {"watching": {"watch": [f"{missing}/*"]}, "promoting": {"promote": {"to": f"{missing}/X"}}},
    )
    assert faults["watching"].startswith(f"watch: W&B could not read the registry {missing}: ")
    assert faults["promoting"].startswith(f"promote.to: W&B could not read the registry {missing}:")
    assert "Check the spelling" in faults["watching"]


def test_the_target_takes_what_a_promotion_links(
    gate_of: Callable[..., Gate], run: wandb.Run, target: str
) -> None:
    refusing = f"Datasets {uuid4().hex[:8]}"
    wandb.Api().create_registry(
        refusing, visibility="organization", organization="wandb32", artifact_types=["dataset"]
    )
    run.link_artifact(run.log_artifact(wandb.Artifact("rows", type="dataset")).wait(), target)
    faults = _faults(
        gate_of,
        {
            "registry": {"promote": {"to": f"wandb32/wandb-registry-{refusing}/X"}},
            "collection": {"promote": {"to": target}},
        },
    )
    assert "does not accept artifacts of type model" in faults["registry"]
    assert "it accepts dataset. Add the type model" in faults["registry"]
    assert f"promote.to: The collection {target} is of type dataset" in faults["collection"]


def test_aliases_are_ones_that_a_version_can_be_given(
    gate_of: Callable[..., Gate], target: str
) -> None:
    (report,) = _checked(
        gate_of(promote={"to": target, "aliases": ["v3", "a/b", "best"]}, when_alias="v1")
    )
    assert [fault.partition(":")[0] for fault in report.faults] == [
        "promote.aliases",
        "promote.aliases",
        "when_alias",
    ]
    assert "The alias 'v3' is the number of a version" in report.faults[0]
    assert "'v1': it is the number of a version" in report.faults[2]


def test_the_application_and_the_evaluation_exist_and_are_what_they_should_be(
    gate_of: Callable[..., Gate], weave_project: WeaveClient
) -> None:
    nothing = f"weave:///{weave_project.entity}/no-such-project/object/Nothing:latest"
    as_evaluation = {"evaluation": str(gate_of().rag_model)}
    cases = {"missing": {"rag_model": nothing, "evaluation": nothing}, "wrong": as_evaluation}
    faults = _faults(gate_of, cases)
    assert faults["missing"].splitlines() == [
        f"{key}: {nothing} does not exist. Copy the reference from the object's Use tab in Weave"
        " into the gate file."
        for key in ("rag_model", "evaluation")
    ]
    assert "is of class SupportBot, not Evaluation. Name a published" in faults["wrong"]
    projects = {one.name for one in wandb.Api().projects(weave_project.entity)}
    assert "no-such-project" not in projects


def test_exchange_leads_to_a_model_that_has_the_parameters(gate_of: Callable[..., Gate]) -> None:
    faults = _faults(
        gate_of,
        {
            "path": {"application": {"import": ["support"], "exchange": "model"}},
            "parameters": {"chat_model": {"cm_temperature": 0.5}},
        },
    )
    assert faults["path"].startswith("exchange: model leads nowhere in weave:///")
    assert "the application has" in faults["path"]
    assert "chat_model sets cm_temperature, but exchange: model_name" in faults["parameters"]


def test_a_metric_has_a_scorer_or_is_measured_without_one(
    gate_of: Callable[..., Gate],
) -> None:
    judge = {"judge": {"base_url": "https://api.openai.com/v1"}}
    application = {"import": ["support"], "exchange": "model_name", "models": judge}
    faults = _faults(
        gate_of,
        {
            "known": _metrics(
                *("exact.mean", "has-answer.true_fraction", "Grounded.anything"),
                *("model_latency.mean", "latency.p95", "cost.total", "usage.total_tokens"),
                "output.length.mean",
            ),
            "judge": _metrics("usage.judge.requests") | {"application": application},
            "scorer": _metrics("grounded.rate", "exactly.mean"),
            "summary": _metrics("exact", "exact.median"),
            "percentile": _metrics("latency.p99", "usage.judge.requests"),
        },
    )
    assert faults["known"] == faults["judge"] == ""
    first, second = faults["scorer"].splitlines()
    assert first.startswith("thresholds: No evaluation measures grounded.rate: the scorers of ")
    assert "are Grounded, exact, has-answer. Name a metric of a scorer, or one of" in first
    assert "measures exactly.mean" in second
    assert "exact names no summary" in faults["summary"]
    assert "exact.median names no summary" in faults["summary"]
    assert "measures latency.p99" in faults["percentile"]
    assert "measures usage.judge.requests" in faults["percentile"]


def test_slices_and_clusters_are_columns_of_the_dataset(gate_of: Callable[..., Gate]) -> None:
    relative = {"metric": "exact.mean", "no_worse_than": "champion"}
    faults = _faults(
        gate_of,
        {
            "known": {
                "thresholds": [
                    {"metric": "exact.mean", "at_least": 1, "slice": {"area": "card"}},
                    relative | {"cluster": "area"},
                ]
            },
            "column": _metrics("exact.mean", slice={"topic": "card"}),
            "value": _metrics("exact.mean", slice={"area": "sea"}),
            "cluster": {"thresholds": [relative | {"cluster": "author"}]},
            "sliced": _metrics("usage.requests", slice={"area": "card"}),
            "compared": {"thresholds": [relative | {"metric": "Grounded.rate"}]},
        },
    )
    assert faults["known"] == ""
    assert "has no column topic; it has area, input, target. Fix slice" in faults["column"]
    assert "No row of the evaluation has {'area': 'sea'}" in faults["value"]
    assert "has no column author" in faults["cluster"]
    assert "usage.requests is no mean over rows, so it has no slices" in faults["sliced"]
    assert "Grounded.rate is no mean over rows, so it cannot be compared" in faults["compared"]


def test_code_that_a_worker_would_refuse_is_a_fault(
    gate_of: Callable[..., Gate], weave_project: WeaveClient
) -> None:
    plain = weave.publish(
        _evaluation(preprocess_model_input=lambda example: example), "plain_eval"
    ).uri
    ours = published(stored_applications.rag_model())
    faults = _faults(
        gate_of,
        {
            "text": {"evaluation": plain},
            "refused": {"application": None, "rag_model": ours},
            "allowed": {"application": None, "rag_model": ours, "allow_stored_code": True},
            "class": {"application": None, "allow_stored_code": True},
        },
    )
    assert "is a plain function, which Weave stores as text only" in faults["text"]
    assert "evaluation: The scorer" in faults["refused"]
    assert "set allow_stored_code: true" in faults["refused"]
    assert faults["allowed"] == ""
    assert "is of class SupportBot, not RagModel" in faults["class"]


def test_a_fault_hides_no_other(gate_of: Callable[..., Gate]) -> None:
    (report,) = _checked(
        gate_of(
            watch=["wandb32/wandb-registry-Nobody's/*", "wandb32/wandb-registry-Noone's/*"],
            promote={"to": "wandb32/wandb-registry-Nowhere/X", "aliases": ["v1"]},
            application={"import": ["support"], "exchange": "model"},
            thresholds=[
                {"metric": "nothing.mean", "at_least": 1},
                {"metric": "exact.mean", "at_least": 1, "slice": {"topic": "card"}},
            ],
        )
    )
    assert [fault.partition(":")[0] for fault in report.faults] == [
        *("watch", "watch", "promote.to", "promote.aliases"),
        *("exchange", "thresholds", "thresholds"),
    ]


def test_an_unreachable_server_is_one_error(
    gate_of: Callable[..., Gate], local_wandb: LocalWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_of()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for variable in ("WANDB_BASE_URL", "WF_TRACE_SERVER_URL"):
        if variable in os.environ:
            monkeypatch.setenv(variable, nobody)
    with pytest.raises(PlatformError, match="W&B did not"):
        list(check_gates(GateFile(gates=(gate,)), 1.0))
