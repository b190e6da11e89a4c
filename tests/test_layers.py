import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module", ["weighbridge", "producers.webhook", "producers.poller", "worker.tasks"]
)
def test_what_does_not_weigh_starts_without_the_heavy_packages(module: str) -> None:
    program = (
        f"import sys, {module}; heavy = {{'torch', 'faiss', 'vllm', 'weave'}} & sys.modules.keys();"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
