import pytest
import wandb

from bus.lease import LeaseLostError
from schemas.errors import ConfigurationError
from schemas.gates import Gate, Promotion
from schemas.refs import WeaveRef
from worker.promote import promote

_DIGEST = "cqRaGKcxutBWXyM0fCGTR1Yk2mISLsNari4wlGTwERo"
_OTHER = "x7MzcgHDrGXYHHDQ9BA8N89qDwcGkdSdpxH30ubm8ZM"
_PAGE = "https://wandb.ai/e/p/weave/objects/RagModel/versions/"


def _allowed() -> None:
    """This worker may go on."""


def _rag_model(project: str, digest: str = _DIGEST) -> WeaveRef:
    return WeaveRef.parse(f"weave:///{project}/object/RagModel:{digest}")


@pytest.fixture
def promoting(gate: Gate, target: str) -> Gate:
    return gate.model_copy(update={"promote": Promotion(to=target, aliases=("production",))})


def test_the_target_holds_a_reference_to_the_weighed_rag_model(
    run: wandb.Run, project: str, promoting: Gate
) -> None:
    rag_model = _rag_model(project)
    version = promote(run, promoting, rag_model, _PAGE + _DIGEST, _allowed)
    linked = wandb.Api().artifact(str(version))
    assert linked.manifest.entries["model"].ref == rag_model.uri
    assert linked.metadata["url"] == _PAGE + _DIGEST
    assert linked.metadata["gate_digest"] == promoting.digest
    assert "production" in linked.aliases
    source = wandb.Api().artifact(f"{project}/RagModel:{_DIGEST}")
    assert source.id == linked.id


def test_promoting_twice_changes_nothing(run: wandb.Run, project: str, promoting: Gate) -> None:
    first, second = (
        promote(run, promoting, _rag_model(project), _PAGE, _allowed) for _ in range(2)
    )
    assert first == second
    assert first.version == "v0"


def test_the_gates_alias_moves_to_the_newest(run: wandb.Run, project: str, promoting: Gate) -> None:
    promote(run, promoting, _rag_model(project), _PAGE, _allowed)
    newest = promote(run, promoting, _rag_model(project, _OTHER), _PAGE, _allowed)
    held = wandb.Api().artifact(f"{promoting.promote.to}:production")
    assert (newest.version, held.version) == ("v1", "v1")


def test_a_worker_that_lost_its_lease_links_nothing(
    run: wandb.Run, project: str, promoting: Gate
) -> None:
    calls = iter([None, LeaseLostError("lost")])

    def lost_after_the_first_effect() -> None:
        if error := next(calls):
            raise error

    with pytest.raises(LeaseLostError):
        promote(run, promoting, _rag_model(project), _PAGE, lost_after_the_first_effect)
    assert not wandb.Api().artifact_exists(f"{promoting.promote.to}:latest")


def test_a_missing_target_registry_is_named(run: wandb.Run, project: str, gate: Gate) -> None:
    to = "wandb32/wandb-registry-Nowhere/RAG Model"
    astray = gate.model_copy(update={"promote": Promotion(to=to)})
    with pytest.raises(ConfigurationError, match="link the promoted version to wandb32/wandb-reg"):
        promote(run, astray, _rag_model(project), _PAGE, _allowed)
