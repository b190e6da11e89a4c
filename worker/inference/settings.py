"""What an operator may choose about the engine."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EngineSettings(BaseModel):
    """Settings of one worker's engine; their defaults are in ``schemas.settings``.

    Attributes:
        run_dir: Folder for the engine's record, lock, log and merged checkpoints. Processes with
            the same folder share one engine; two workers on two GPUs need two folders.
        models_dir: Folder of base models, one folder per hub id below it.
        max_model_len: Longest prompt plus answer, in tokens.
        kv_cache_gib: KV cache of a CPU engine, in GiB. A CUDA engine follows
            ``gpu_memory_utilization``.
        gpu_memory_utilization: Share of the GPU's memory that a CUDA engine takes, weights and
            KV cache together.
        start_budget_s: Seconds a start may take until the engine answers.
    """

    model_config = ConfigDict(frozen=True)

    run_dir: Path
    models_dir: Path
    max_model_len: int = Field(gt=0)
    kv_cache_gib: int = Field(gt=0)
    gpu_memory_utilization: float = Field(gt=0, le=1)
    start_budget_s: float = Field(gt=0)
