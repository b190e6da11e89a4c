"""Settings: everything that Weighbridge reads from the environment.

The variables of W&B, Weave, Celery and vLLM keep their names; ours are ``WEIGHBRIDGE_*``.
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
    """One field per variable; docs/configuration.md has the same in a table.

    Attributes:
        broker_url: Redis, as Celery's broker and for the ledger.
        gates_path: The gate file.
        run_dir: The engine's record and log, and the files of W&B runs; one for each GPU worker.
        cache_dir: Downloaded model versions, and 4-bit ones unpacked.
        models_dir: Base models, as ``<org>/<name>`` folders, searched before any hub.
        webhook_token: Bearer token that W&B's automation sends.
        webhook_secret: Secret with which W&B's automation signs.
        webhook_checks: Proofs that every delivery must have; leave one out only for senders that
            cannot give it.
        webhook_host: Address that the receiver listens on.
        webhook_port: Port that the receiver listens on.
        poll_interval: Seconds between two scans of the Registry.
        full_scan_interval: Seconds between two full scans, which find what a scan of the changes
            cannot see. WEIGHBRIDGE_FULL_LOOK_INTERVAL, its old name, is still read.
        backfill: Which versions older than a gate are weighed under it: none, the latest of each
            collection, or all.
        redis_master: Name of the master where the broker's URL names Sentinels.
        max_attempts: Attempts at a weighing before it has failed.
        retry_delay: Seconds before the second attempt; doubles before each later one.
        max_retry_delay: Most seconds between two attempts.
        max_age: Seconds after which a weighing is not retried.
        keep_days: Days that the ledger keeps a weighing that has ended.
        lease: Seconds that a worker's claim lasts without a heartbeat.
        stall_timeout: Seconds without any progress after which the process of an attempt ends.
        wandb_timeout: Most seconds of one call to W&B (docs/upstream/wandb-protocol.md, "Timeouts
            and retries").
        cache_gib: Most GiB of all downloaded versions; the least recently used are deleted first.
        max_version_gib: Most GiB of one version; a larger one is refused.
        engine_url: Base URL of an external engine, as in ``https://host/v1``; None lets each worker
            run its own.
        engine_key: API key of the external engine.
        engine_retries: Retries of a request that the external engine answers with 429 or 5xx.
        engine_start_budget: Most seconds for the start of the model server.
        max_model_len: Most tokens of prompt and answer together; None is the limit of the model
            and the memory.
        kv_cache_gib: GiB of key-value cache on a CPU.
        gpu_memory_utilization: Share of the GPU's memory that the model server takes.
        tensor_parallel_size: GPUs that one model is spread over.
        load_format: How a starting engine reads the weights.
        compile_cache_dir: The engine's compiled code, kept for its next start.
        side_by_side: Adapters of one base that one engine serves at once when several wait; 1
            merges each into the base instead (docs/performance.md says when more is faster).
        max_lora_rank: Highest rank that is served side by side; a higher one is merged.
        evaluation_concurrency: Rows that are evaluated at once.
        application_launcher: Command line that starts an application's process, such as
            ``bwrap ...``.
        application_wandb_api_key: The W&B key that applications write their traces with; None is
            the worker's own.
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
    stall_timeout: float = Field(default=3600.0, gt=0)
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

    application_launcher: str | None = None
    application_wandb_api_key: SecretStr | None = None

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
            ConfigurationError: It cannot be read, or it has a fault.
        """
        return read_gates(self.gates_path)


def read_gates(path: Path) -> GateFile:
    """Read and check a gate file.

    Raises:
        ConfigurationError: It cannot be read, or it has a fault.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(
            f"The gate file {path} cannot be read: {error.strerror}.",
            fix="Set WEIGHBRIDGE_GATES to its path; gates.example.yaml is a start.",
        ) from error
    return GateFile.parse(text, str(path))
