"""What a worker process imports: its start, and every recovery after a kill, waits for it."""

import subprocess
import sys

_HEAVY = ("torch", "transformers", "sentence_transformers", "peft", "vllm", "scipy.stats")


def test_a_worker_starts_without_the_libraries_of_models() -> None:
    program = (
        "import sys, worker.main, worker.pipeline, worker.reweigh;"
        f"print(*[name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True
    )
    assert done.stdout.split() == []
