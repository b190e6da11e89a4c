"""What an application cannot do under the launcher of docs/applications.md."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from application.protocol import Done
from engine.private_folder import make_private_folder
from schemas.applications import Application
from worker.applications import process as module
from worker.applications.process import ApplicationProcess

# That of a virtual environment may be in a home folder, which is hidden.
_SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")
_PAGE = Path(__file__).parents[3] / "docs" / "applications.md"
_LAUNCHER = _PAGE.read_text().partition('LAUNCHER="')[2].partition('"')[0]

_HEAD = """
import os, socket, sys
reported = int(sys.argv[-1])

"""
_MESSAGE = Done(call="held").model_dump_json().encode() + b"\n"
_ANSWER = f"os.write(reported, {_MESSAGE!r})\n"


def _runs_bubblewrap() -> bool:
    if not (shutil.which("bwrap") and _SYSTEM_PYTHON):
        return False
    # A container may forbid new namespaces.
    isolated = ["bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(isolated, check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _runs_bubblewrap(), reason="bubblewrap does not run here")


@pytest.fixture
def holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs a program as an application; it fails unless every ``assert`` of the program holds."""
    with ExitStack() as stack:

        def holds(program: str) -> None:
            path = tmp_path / "program.py"
            path.write_text(_HEAD + program + _ANSWER)
            monkeypatch.setattr(module, "_PROGRAM", path)
            settings = {"import": ["acme"], "python": _SYSTEM_PYTHON}
            application = Application.model_validate(settings)
            launcher = f"{_LAUNCHER} --ro-bind {path} {path}"
            process = stack.enter_context(
                ApplicationProcess(application, lambda _: {}, tmp_path / "it.log", launcher)
            )
            assert process.receive(time.monotonic() + 60, lambda: None) == Done(call="held")

        yield holds


@pytest.fixture
def control_socket() -> Iterator[Path]:
    """The socket of an engine's control API, where a worker's engine has it."""
    folder = make_private_folder()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "engine.sock"))
        listening.listen()
        yield folder / "engine.sock"
    shutil.rmtree(folder)


def test_a_launcher_hides_every_other_process(holds: Callable[..., None]) -> None:
    holds("assert sum(name.isdigit() for name in os.listdir('/proc')) <= 3\n")


def test_a_launcher_hides_home_folders_and_the_files_of_others(
    holds: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / "of another").write_text("secret")
    homes = "assert os.listdir('/home') == os.listdir('/root') == []\n"
    files = f"assert not os.path.exists({str(tmp_path / 'of another')!r})\n"
    holds(homes + files)


def test_a_launcher_leaves_it_its_own_folder_and_the_network(holds: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        own = "open('notes.txt', 'w').write('mine'); assert os.listdir('.')\n"
        reach = f"socket.create_connection(('127.0.0.1', {gateway.getsockname()[1]}))\n"
        holds(own + reach)


def test_a_launcher_hides_the_engines_control_socket(
    holds: Callable[..., None], control_socket: Path
) -> None:
    connect = f"socket.socket(socket.AF_UNIX).connect({str(control_socket)!r})"
    holds(f"try:\n    {connect}\nexcept FileNotFoundError: pass\nelse: assert False\n")
