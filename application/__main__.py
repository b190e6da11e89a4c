"""``python -m application --read FD --write FD``: run one evaluation for a worker.

The interpreter is the team's, which may have nothing of Weighbridge. So this file needs only the
standard library, and finds the other modules by its own place.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class _OurPackages(MetaPathFinder):
    """Finds the packages of this file's own installation, which is the worker's.

    The other packages of the worker are not those of the team's interpreter.
    """

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        if fullname not in ("application", "schemas"):
            return None
        return PathFinder.find_spec(fullname, [str(Path(__file__).resolve().parents[1])])


def main() -> int:
    """Import the rest and serve the worker; return the exit status."""
    parser = argparse.ArgumentParser(prog="application")
    parser.add_argument("--read", type=int, required=True, help="the worker writes to it")
    parser.add_argument("--write", type=int, required=True, help="the worker reads it")
    arguments = parser.parse_args()
    sys.meta_path.insert(0, _OurPackages())  # not another version that is installed there
    try:
        from application.run import serve
    except Exception as error:  # an old Python raises others
        _send_failure(arguments.write, error)
        return 1
    return serve(arguments.read, arguments.write)


def _send_failure(write: int, error: Exception) -> None:
    failure = {
        "type": "failed",
        "kind": "ConfigurationError",
        "message": f"{sys.executable} cannot run an application for Weighbridge: "
        f"{type(error).__name__}: {error}.",
        "fix": "It needs Python 3.10 or newer and weave; install them there.",
    }
    with open(write, "wb") as pipe:
        pipe.write(json.dumps(failure).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
