"""Unpacks a 4-bit base: converts it to an ordinary checkpoint, once.

unsloth and QLoRA train adapters on a base that bitsandbytes quantized to 4 bits, and name that
base. Its layers compute with the dequantized weights, so the dequantized weights are the exact base
of the adapter. With them, the adapter can be merged and served on any device.

``four_bit`` does the work in another process, so that the worker stays small and a malformed file
cannot harm it.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from engine import checkpoint
from engine.artifact import Checkpoint
from engine.engine_log import last_errors
from engine.file_lock import locked
from engine.options import OnProgress
from schemas.errors import ArtifactError, ConfigurationError, PlatformError

REFUSED = 3
"""Exit status of ``four_bit`` for a broken checkpoint; the last line of its log is the error."""


def is_four_bit(folder: Path) -> bool:
    """Whether bitsandbytes quantized a checkpoint's weights to 4 bits.

    Raises:
        ArtifactError: Its config.json cannot be read.
    """
    quantization = checkpoint.read_json(folder / "config.json").get("quantization_config")
    return isinstance(quantization, dict) and bool(
        quantization.get("quant_method") == "bitsandbytes" and quantization.get("load_in_4bit")
    )


def unpacked(base: Checkpoint, cache_dir: Path, on_progress: OnProgress) -> Checkpoint:
    """Unpack a 4-bit checkpoint, unless it is in the cache.

    Args:
        base: The checkpoint.
        cache_dir: The cache, with one folder for each unpacked checkpoint.
        on_progress: Receives the progress.

    Returns:
        The same model with dequantized weights.

    Raises:
        ArtifactError: The quantized weights are incomplete or broken.
        ConfigurationError: bitsandbytes is not installed.
        PlatformError: The unpacking process was killed, or ran out of memory or disk space.
    """
    target = cache_dir / checkpoint.digest(base.folder)
    if not target.exists():
        waiting = "waiting for another process to unpack the base"
        with locked(target.with_suffix(".lock"), on_progress=on_progress, waiting=waiting) as lock:
            if not target.exists():
                _unpack(base.folder, target, lock, on_progress)
    return Checkpoint(folder=target)


def _unpack(source: Path, target: Path, lock: IO[str], on_progress: OnProgress) -> None:
    if find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            f"The base {source} has 4 bits and needs bitsandbytes, which is not installed.",
            fix="Run `pip install bitsandbytes`.",
        )
    log, unfinished = target.with_suffix(".log"), target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
    try:
        status = _run(source, unfinished, lock, log, on_progress)
        if status == REFUSED:
            raise ArtifactError(log.read_text("utf-8").splitlines()[-1])
        if status:
            raise PlatformError(
                f"Unpacking the 4-bit base {source} ended with status {status}: "
                f"{last_errors(log)}.",
                fix=f"Its log is {log}.",
            )
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.unlink()


def _run(source: Path, target: Path, lock: IO[str], log: Path, on_progress: OnProgress) -> int:
    """Run the unpacking process and return its exit status."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.four_bit", str(source), str(target)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            pass_fds=[lock.fileno()],  # it keeps the lock if this process dies first
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                on_progress(line.strip())
        except BaseException:
            process.kill()
            raise
    return process.returncode
