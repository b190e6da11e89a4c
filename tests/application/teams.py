"""What a team does by itself: publishes its application from a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "applications"

_PUBLISH = """
import importlib, json, sys
import weave
calls = json.loads(sys.argv[1])
published = {name: importlib.import_module(name).publish(*given) for name, given in calls.items()}
weave.finish()
print(json.dumps(published))
"""


def publish(calls: Mapping[str, Sequence[str]], *folders: Path) -> dict[str, Any]:
    """Call ``publish`` of modules in another process.

    Args:
        calls: The arguments of each module's ``publish``.
        folders: Where the modules are, in addition to the example applications.

    Returns:
        What each returns, through JSON: the references of what it published.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PUBLISH, json.dumps(calls)],
        cwd=FOLDER,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "WEAVE_PRINT_CALL_LINK": "false",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    published: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return published
