"""Settings: everything Weighbridge takes from the environment, in one place.

W&B's, Weave's, Celery's and vLLM's own variables keep their names; ours are `WEIGHBRIDGE_*`.
"""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, HttpUrl, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError
from schemas.gates import GateFile

# vllm/config/lora.py, MaxLoRARanks
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

Backfill = Literal["none", "latest", "all"]
WebhookCheck = Literal["token", "signature"]
LoadFormat = Literal["auto", "safetensors", "fastsafetensors", "runai_streamer"]


class Settings(BaseSettings):
    """One field per variable; docs/configuration.md says the same in a table.

    Attributes:
        broker_url: Redis, as Celery's broker and for the ledger.
        gates_path: the gate file.
        run_dir: the engine's record and log, and the files of W&B runs; one for each GPU worker.
        cache_dir: downloaded model versions, and 4-bit ones unpacked.
        models_dir: base models, as `<org>/<name>` folders, looked up before any hub.
        webhook_token: bearer token that W&B's automation sends.
        webhook_secret: secret with which W&B's automation signs.
        webhook_checks: what every delivery must prove; leaving one out is for senders that cannot.
        webhook_host: address the receiver listens on.
        webhook_port: its port.
        poll_interval: seconds between two scans of the Registry.
        full_scan_interval: seconds between two full scans, which find what a scan of the changes
            cannot see. WEIGHBRIDGE_FULL_LOOK_INTERVAL, its old name, is still read.
        backfill: which versions that are older than a gate are weighed under it: none, the latest
            of each collection, or all.
        redis_master: name of the master where the broker's URL names Sentinels.
        max_attempts: how often a weighing is tried before it has failed.
        retry_delay: seconds before the second attempt; before each later one twice as long.
        max_retry_delay: seconds between two attempts, at most.
        max_age: seconds after which a weighing is not tried again.
        keep_days: days that the ledger keeps a weighing that has ended.
        lease: seconds that a worker's claim lasts without a heartbeat.
        wandb_timeout: seconds that one call to W&B may take (docs/upstream/wandb-protocol.md,
            "Timeouts and retries").
        cache_gib: GiB that downloaded versions may take together; the longest unused go first.
        max_version_gib: GiB that one version may have; a larger one is refused.
        engine_url: base URL of an engine that somebody else runs, as `https://host/v1`; None has
            each worker run its own.
        engine_key: that engine's API key.
        engine_retries: how often a request is sent again that this engine answers with 429 or 5xx.
        engine_start_budget: seconds the model server may take to start.
        max_model_len: longest prompt and answer together, in tokens; None is what the model and
            the memory allow.
        kv_cache_gib: GiB of key-value cache on a CPU.
        gpu_memory_utilization: share of the GPU's memory that the model server takes.
        tensor_parallel_size: GPUs that one model is spread over.
        load_format: how an engine that starts reads the weights.
        compile_cache_dir: what the engine compiled, kept for its next start.
        side_by_side: adapters of one base that one engine serves at once when several wait; 1
            merges each into the base instead (docs/performance.md says when more is faster).
        max_lora_rank: highest rank that is served side by side; a higher one is merged.
        evaluation_concurrency: rows of an evaluation that are asked at once.
    """

    model_config = SettingsConfigDict(
        env_prefix="WEIGHBRIDGE_",
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,  # it may hold a secret
    )

    broker_url: str = Field(
        default="redis://127.0.0.1:6379/0",
        validation_alias="CELERY_BROKER_URL",
        pattern=r"^(redis|rediss|unix|sentinel)://",
        repr=False,  # it may hold a password
    )
    gates_path: Path = Field(default=Path("gates.yaml"), validation_alias="WEIGHBRIDGE_GATES")
    run_dir: Path = Path("~/.local/state/weighbridge")
    cache_dir: Path = Path("~/.cache/weighbridge")
    models_dir: Path = Path("~/.cache/weighbridge/models")
    report_dir: Path = Path("~/.local/state/weighbridge/reports")

    webhook_token: SecretStr | None = None
    webhook_secret: SecretStr | None = None
    webhook_checks: frozenset[WebhookCheck] = frozenset({"token", "signature"})
    webhook_host: str = "127.0.0.1"
    webhook_port: int = 8080

    poll_interval: float = Field(default=30.0, gt=0)
    full_scan_interval: float = Field(
        default=3600.0,
        gt=0,
        validation_alias=AliasChoices(
            "WEIGHBRIDGE_FULL_SCAN_INTERVAL", "WEIGHBRIDGE_FULL_LOOK_INTERVAL"
        ),
    )
    backfill: Backfill = "latest"
    redis_master: str = "mymaster"
    lease: float = Field(default=60.0, gt=0)
    max_attempts: int = Field(default=8, gt=0)
    retry_delay: float = Field(default=30.0, gt=0)
    max_retry_delay: float = Field(default=1800.0, gt=0)
    max_age: float = Field(default=86400.0, gt=0)
    keep_days: float = Field(default=90.0, gt=0)
    wandb_timeout: float = Field(default=19.0, gt=0)

    cache_gib: float = Field(default=100.0, gt=0)
    max_version_gib: float = Field(default=200.0, gt=0)

    engine_url: HttpUrl | None = None
    engine_key: SecretStr | None = None
    engine_retries: int = Field(default=5, ge=0)

    engine_start_budget: float = Field(default=900.0, gt=0)
    max_model_len: int | None = Field(default=None, gt=0)
    kv_cache_gib: int = Field(default=1, gt=0)
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, gt=0)
    load_format: LoadFormat = "safetensors"
    compile_cache_dir: Path = Path("~/.cache/weighbridge/compiled")
    side_by_side: int = Field(default=1, gt=0)
    max_lora_rank: int = Field(default=64, gt=0)
    evaluation_concurrency: int = Field(default=128, gt=0)

    @field_validator("max_lora_rank")
    @classmethod
    def _is_one_of_vllms(cls, rank: int) -> int:
        if rank not in _LORA_RANKS:
            raise ValueError(f"vLLM takes one of {', '.join(map(str, _LORA_RANKS))}")
        return rank

    @field_validator("engine_url")
    @classmethod
    def _without_password(cls, url: HttpUrl | None) -> HttpUrl | None:
        if url and (url.username or url.password):
            raise ValueError("a password in it would be printed; use WEIGHBRIDGE_ENGINE_KEY")
        return url

    @field_validator("run_dir", "cache_dir", "models_dir", "report_dir", "compile_cache_dir")
    @classmethod
    def _at_home(cls, folder: Path) -> Path:
        return folder.expanduser()

    @cached_property
    def gates(self) -> GateFile:
        """The gate file, read once.

        Raises:
            ConfigurationError: it cannot be read, or it has a fault.
        """
        return read_gates(self.gates_path)


def read_gates(path: Path) -> GateFile:
    """Read and check a gate file.

    Raises:
        ConfigurationError: it cannot be read, or it has a fault.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(
            f"The gate file {path} cannot be read: {error.strerror}.",
            fix="Set WEIGHBRIDGE_GATES to its path; gates.example.yaml is a start.",
        ) from error
    return GateFile.parse(text, str(path))
