"""The old module names still work: ``worker.rag`` is ``application.rag``."""

import subprocess
import sys

import pytest

import application.rag

_MODULES = [
    "chat_model",
    "embedding",
    "judge",
    "rag_model",
    "scorers",
    "serving",
    "vector_store",
]


def _run(program: str) -> None:
    """Run a program in a fresh process, in which no module has been imported under either name."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_exports_the_same_objects_under_both_names() -> None:
    names = application.rag.__all__
    _run(
        f"from worker.rag import {', '.join(names)}\n"
        "import worker.rag, application.rag\n"
        "assert worker.rag.__all__ == application.rag.__all__\n"
        f"for name in {names}:\n"
        "    assert getattr(worker.rag, name) is getattr(application.rag, name), name\n"
    )


@pytest.mark.parametrize("statement", ["import {old}", "from worker.rag import {name}"])
def test_every_module_is_the_same_object_under_both_names(statement: str) -> None:
    imports = [statement.format(old=f"worker.rag.{name}", name=name) for name in _MODULES]
    _run(
        "import importlib\n" + "\n".join(imports) + f"\nfor name in {_MODULES}:\n"
        "    old = importlib.import_module(f'worker.rag.{name}')\n"
        "    new = importlib.import_module(f'application.rag.{name}')\n"
        "    assert old is new, name\n"
    )


def test_an_import_from_an_old_module_gives_the_same_object() -> None:
    _run(
        "from worker.rag.scorers import exact_match\n"
        "from worker.rag.judge import LLMJudge\n"
        "from worker.rag.serving import serving\n"
        "import application.rag, application.rag.serving\n"
        "assert exact_match is application.rag.exact_match\n"
        "assert LLMJudge is application.rag.LLMJudge\n"
        "assert serving is application.rag.serving.serving\n"
    )
