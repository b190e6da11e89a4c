"""The same suite on CUDA, and what only CUDA can do."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine import Engine, ServeOptions
from schemas.settings import Settings

pytestmark = [
    pytest.mark.engine,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is visible"),
]
_HERE = Path(__file__).parent
_SUITE = ("test_engine.py", "test_lora_engine.py", "test_rag_application.py")


def test_the_suite_passes_on_cuda() -> None:
    """The fixtures' engines run where torch finds a device."""
    files = [str(_HERE / name) for name in _SUITE]
    subprocess.run([sys.executable, "-m", "pytest", "-q", *files], check=True)


def test_a_checkpoint_and_an_adapter_are_served_in_4_bits(
    engine_settings: Settings, base_folder: Path, loud_adapters: list[Path], tmp_path: Path
) -> None:
    engine = Engine(engine_settings.model_copy(update={"run_dir": tmp_path}))
    for folder in (base_folder, loud_adapters[0]):
        with engine.serve(folder, folder.name, options=ServeOptions(quantize=True)) as model:
            assert model.name == folder.name
    engine.stop()
