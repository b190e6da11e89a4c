from collections.abc import Callable
from uuid import uuid4

import pytest
import yaml
from click.testing import CliRunner, Result

from bus.ledger import Ledger
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.verdicts import Outcome, Verdict
from weighbridge import main

Command = Callable[..., Result]


@pytest.fixture
def command(settings: Settings) -> Command:
    """Runs `weighbridge` with these arguments, on the test's Redis and gate file."""

    def run(*arguments: str, **environment: str) -> Result:
        ours = {
            "CELERY_BROKER_URL": settings.broker_url,
            "WEIGHBRIDGE_GATES": str(settings.gates_path),
        }
        return CliRunner().invoke(main, list(arguments), env=ours | environment)

    return run


@pytest.fixture
def write_gates(settings: Settings) -> Callable[[Gate], None]:
    def write(gate: Gate) -> None:
        text = yaml.safe_dump(GateFile(gates=(gate,)).model_dump(mode="json"))
        settings.gates_path.write_text(text)

    return write


End = Callable[[WeighingId, Outcome], None]


@pytest.fixture
def end(ledger: Ledger) -> End:
    """Claims and ends an open weighing, as a worker does."""

    def claim_and_end(weighing: WeighingId, outcome: Outcome) -> None:
        token = ledger.claim(weighing, "a worker")
        assert token is not None
        reason = f"{outcome}, so"
        verdict = Verdict(weighing=weighing, source="webhook", outcome=outcome, reason=reason)
        assert ledger.end(verdict, token)

    return claim_and_end


Ended = Callable[..., WeighingId]


@pytest.fixture
def ended(ledger: Ledger, gate: Gate, event: ModelVersionEvent, end: End) -> Ended:
    """Opens and ends the weighing of a version with this number."""

    def open_and_end(number: int, outcome: Outcome, name: str = "climate-rag") -> WeighingId:
        version = event.ref.model_copy(update={"version": f"v{number}"})
        weighing = WeighingId.of(name, version)
        ledger.open(weighing, gate, event.model_copy(update={"ref": version}))
        end(weighing, outcome)
        return weighing

    return open_and_end


@pytest.fixture
def waiting(
    ledger: Ledger, link: Callable[..., str], gate: Gate, event: ModelVersionEvent, end: End
) -> WeighingId:
    """A weighing that awaits approval, of a version that exists in W&B."""
    version = ArtifactRef.parse(link("one", f"collection {uuid4().hex[:8]}"))
    weighing = WeighingId.of(gate.name, version)
    ledger.open(weighing, gate, event.model_copy(update={"ref": version}))
    end(weighing, "awaiting approval")
    return weighing
