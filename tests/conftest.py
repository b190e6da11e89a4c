"""What every test may ask for: a real Redis, emptied for each test that uses it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
import redis
import wandb
from celery import Celery
from weave.trace.weave_client import WeaveClient
from xdist.remote import Producer

from bus.bus import Bus
from bus.connection import connect
from bus.inbox import Inbox
from bus.ledger import Ledger
from engine import Engine
from local_wandb import LocalWandb, LocalWandbConfig
from registry.helper_process import end_helper_process
from rehearsal.base_model import base_model, models_dir
from rehearsal.redis_server import redis_server
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from tests.certificates import hide_certificates
from tests.groups import GroupScheduling, arrange, is_left_out
from tests.weave_clients import connected, end_known_clients, upload_at_once
from worker.applications.prepared import spares

# A machine that is busy is no failure, and a change is judged by the examples of the one before.
# New ones: --hypothesis-profile=search.
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.register_profile("patient", deadline=None, derandomize=True)
hypothesis.settings.load_profile("patient")


hide_certificates()  # almost no call leaves this machine
upload_at_once()

_ADAPTER = Path(__file__).parents[1] / "rehearsal" / "adapters" / "good"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import what ``-m`` leaves out: its libraries take seconds in each process."""
    return is_left_out(config.rootpath, collection_path, config.option.markexpr) or None


@pytest.hookimpl(tryfirst=True)  # before -m selects by mark
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    arrange(config.rootpath, items)


def pytest_xdist_setupnodes() -> None:
    """Give each process one thread when tests run side by side.

    Several model servers share the cores, and a thread that waits for another one keeps its core
    busy.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    return GroupScheduling(config, log)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "CELERY_BROKER_URL": redis_url,
            "WEIGHBRIDGE_GATES": tmp_path / "gates.yaml",
            "run_dir": tmp_path / "run",
            "cache_dir": tmp_path / "cache",
            "report_dir": tmp_path / "reports",
            "webhook_token": "the-token",
            "webhook_secret": "the-secret",
        }
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    connection = connect(settings.broker_url)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def bus(settings: Settings, client: redis.Redis) -> Iterator[Bus]:
    with Bus.open(settings) as opened:
        yield opened


@pytest.fixture
def ledger(bus: Bus) -> Ledger:
    return bus.ledger


@pytest.fixture
def inbox(bus: Bus) -> Inbox:
    return bus.inbox


@pytest.fixture
def app(bus: Bus) -> Celery:
    return bus.app


@pytest.fixture
def version() -> ArtifactRef:
    return ArtifactRef.parse("wandb32/wandb-registry-RAG Chat Models/Finetuned SmolLM2:v3")


@pytest.fixture
def event(version: ArtifactRef) -> ModelVersionEvent:
    return ModelVersionEvent(ref=version, source="webhook", author="ada")


@pytest.fixture
def weighing(version: ArtifactRef) -> WeighingId:
    return WeighingId.of("climate-rag", version)


@pytest.fixture
def gate() -> Gate:
    return Gate.model_validate(
        {
            "name": "climate-rag",
            "watch": ["wandb32/wandb-registry-RAG Chat Models/*"],
            "rag_model": "weave:///wandb-smle/weave-cookboook-demo/object/RagModel:v0",
            "evaluation": "weave:///wandb-smle/weave-cookboook-demo/object/climate_rag_eval:latest",
            "thresholds": [
                {"metric": "answer_correctness.mean", "at_least": 0.6},
                {"metric": "model_latency.mean", "at_most": 2},
            ],
            "promote": {"to": "wandb32/wandb-registry-RAG Models/RAG Model"},
        }
    )


@pytest.fixture(scope="session")
def local_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWandb]:
    with LocalWandb(LocalWandbConfig(data_dir=tmp_path_factory.mktemp("wandb"))) as running:
        yield running


@pytest.fixture
def project(
    local_wandb: LocalWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The path of a project that only this test uses; both SDKs talk to the local W&B."""
    end_helper_process()
    name = f"test-{uuid4().hex[:8]}"
    environment = local_wandb.environment(tmp_path / "client") | {"WANDB_PROJECT": name}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    yield f"{local_wandb.config.entity}/{name}"
    spares.end()  # they have the environment of this test
    end_known_clients()
    end_helper_process()


@pytest.fixture
def run(project: str) -> Iterator[wandb.Run]:
    with wandb.init(job_type="model_evaluation", settings=wandb.Settings(console="off")) as run:
        yield run


@pytest.fixture
def registry(project: str) -> Callable[[str], str]:
    """Makes sure of a registry, whose tests tell each other apart by collections of their own."""

    def make(name: str) -> str:
        api = wandb.Api()
        if name not in {one.name for one in api.registries(organization="wandb32")}:
            api.create_registry(name, visibility="organization", organization="wandb32")
        return f"wandb32/wandb-registry-{name}"

    return make


@pytest.fixture
def link(run: wandb.Run, registry: Callable[[str], str], tmp_path: Path) -> Callable[..., str]:
    """Logs a version of some text, as the model team would, and links it to a collection."""

    def log_and_link(text: str, collection: str) -> str:
        file = tmp_path / "weights.txt"
        file.write_text(text)
        artifact = wandb.Artifact("adapter", type="model")
        artifact.add_file(str(file))
        run.log_artifact(artifact).wait()
        path = f"{registry('RAG Chat Models')}/{collection}"
        return str(run.link_artifact(artifact, path).qualified_name)

    return log_and_link


@pytest.fixture(scope="session")
def engine_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(run_dir=tmp_path_factory.mktemp("run"), models_dir=models_dir())


@pytest.fixture(scope="session")
def engine(engine_settings: Settings) -> Iterator[Engine]:
    """The one engine of all tests: it starts with the first that serves a version."""
    with pytest.MonkeyPatch.context() as machine:
        machine.setenv("CXX", "no-compiler")  # as on the machine of somebody who has only Python
        engine = Engine(engine_settings)
        yield engine
        engine.stop()


@pytest.fixture(scope="session")
def warm_run_dir(engine: Engine, engine_settings: Settings) -> Path:
    """Where a worker finds the engine running."""
    engine.ensure(base_model())
    return engine_settings.run_dir


@pytest.fixture
def weave_project(project: str) -> Iterator[WeaveClient]:
    with connected(project) as client:
        yield client


@pytest.fixture
def target(registry: Callable[[str], str]) -> str:
    """A collection, of this test only, in the registry of promoted applications."""
    return f"{registry('RAG Models')}/{uuid4().hex[:8]}"


@pytest.fixture
def log_files(run: wandb.Run, tmp_path: Path) -> Callable[..., ArtifactRef]:
    """Logs files, by path and contents, and references; returns the version."""

    def log_version(
        files: dict[str, bytes], *references: str, name: str = "adapter"
    ) -> ArtifactRef:
        folder = tmp_path / "logged"
        shutil.rmtree(folder, ignore_errors=True)
        for path, contents in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(contents)
        artifact = wandb.Artifact(name, type="model")
        artifact.add_dir(str(folder))
        for url in references:
            artifact.add_reference(url, name="referred.safetensors", checksum=False)
        return ArtifactRef.parse(str(run.log_artifact(artifact).wait().qualified_name))

    return log_version


@pytest.fixture
def link_adapter(
    run: wandb.Run, registry: Callable[[str], str], tmp_path: Path
) -> Callable[[], ArtifactRef]:
    """Links one more version, as the model team does."""
    collection = f"{registry('RAG Chat Models')}/adapter-{run.id}"
    folder = tmp_path / "adapter"
    shutil.copytree(_ADAPTER, folder)

    def link() -> ArtifactRef:
        with (folder / "README.md").open("a") as card:
            card.write("One more epoch.\n")
        artifact = wandb.Artifact("adapter", type="model")
        artifact.add_dir(str(folder))
        run.log_artifact(artifact).wait()
        return ArtifactRef.parse(str(run.link_artifact(artifact, collection).qualified_name))

    return link


@pytest.fixture
def adapter(link_adapter: Callable[[], ArtifactRef]) -> ArtifactRef:
    return link_adapter()
