"""What every test may ask for: a real Redis, emptied for each test that uses it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery

from bus.celery_app import celery_app
from bus.connection import connect
from bus.ledger import Ledger
from rehearsal.redis_server import redis_server
from schemas.events import ModelVersionEvent, WeighingId
from schemas.gates import Gate
from schemas.refs import ArtifactRef
from schemas.settings import Settings


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
            "webhook_token": "the-token",
            "webhook_secret": "the-secret",
        }
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    connection = connect(settings)
    connection.flushall()
    yield connection
    connection.close()


@pytest.fixture
def ledger(client: redis.Redis, settings: Settings) -> Ledger:
    return Ledger(client, settings.lease)


@pytest.fixture
def app(settings: Settings, client: redis.Redis) -> Iterator[Celery]:
    celery = celery_app(settings)
    yield celery
    celery.close()


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
