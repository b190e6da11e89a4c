"""Makes an ordinary checkpoint of one in bitsandbytes' 4 bits, once.

unsloth and QLoRA train adapters on a base in 4 bits, and name that base. Its layers compute with
the dequantised weights, so those are the exact base of the adapter: unpacked, it is merged and
served on any device, as every other base is.

The work is done by ``four_bit`` in a process of its own, so that the worker stays small and no
malformed file can harm it.
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
from engine.file_lock import locked
from engine.log import last_errors
from engine.options import OnProgress
from schemas.errors import ArtifactError, ConfigurationError, PlatformError

REFUSED = 3
"""Exit status of ``four_bit``: the checkpoint is broken; its last line says how."""


def is_four_bit(folder: Path) -> bool:
    """Whether a checkpoint's weights are in bitsandbytes' 4 bits.

    Raises:
        ArtifactError: Its config.json cannot be read.
    """
    quantization = checkpoint.read_json(folder / "config.json").get("quantization_config")
    return isinstance(quantization, dict) and bool(
        quantization.get("quant_method") == "bitsandbytes" and quantization.get("load_in_4bit")
    )


def unpacked(base: Checkpoint, cache_dir: Path, on_progress: OnProgress) -> Checkpoint:
    """Unpack a 4-bit checkpoint, unless that was done before.

    Args:
        base: The checkpoint.
        cache_dir: Unpacked ones are kept below it, one folder for each.
        on_progress: Hears how far it is.

    Returns:
        The same model with all weights in full.

    Raises:
        ArtifactError: Its quantised weights are incomplete or broken.
        ConfigurationError: bitsandbytes is not installed.
        PlatformError: The unpacking process was ended, or ran out of memory or disk.
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
            f"The base {source} is in 4 bits, which takes bitsandbytes, and that is not installed.",
            fix="Run `pip install bitsandbytes`.",
        )
    log, unfinished = target.with_suffix(".log"), target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed
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
    """Run the unpacking process; its exit status."""
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.four_bit", str(source), str(target)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            pass_fds=[lock.fileno()],  # it keeps the lock if this process dies before it
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                on_progress(line.strip())
        except BaseException:
            process.kill()
            raise
    return process.returncode
