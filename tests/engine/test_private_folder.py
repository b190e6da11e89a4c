"""Where an engine's sockets are: a folder that is private and whose path is short."""

import os
import socket
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest

from engine import private_folder
from engine.private_folder import make_private_folder
from schemas.errors import ConfigurationError

SYSTEM = Path("/tmp")


@pytest.fixture
def long_folder(tmp_path: Path) -> Path:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    return folder


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Changes the usual temporary folder; there is no XDG_RUNTIME_DIR."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return monkeypatch


def parent_of_a_new_folder() -> Path:
    """Make a folder, check it, and remove it."""
    folder = make_private_folder()
    status = folder.stat()
    assert status.st_mode & 0o777 == 0o700
    assert status.st_uid == os.geteuid()
    vllm_socket = folder / str(uuid4())
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(vllm_socket))
    vllm_socket.unlink()
    folder.rmdir()
    return folder.parent


def test_the_usual_temporary_folder_is_used_if_its_path_is_short() -> None:
    assert parent_of_a_new_folder() == Path(tempfile.gettempdir())


def test_a_long_temporary_folder_is_passed_over(
    temporary: pytest.MonkeyPatch, long_folder: Path
) -> None:
    temporary.setattr(tempfile, "tempdir", str(long_folder))
    assert parent_of_a_new_folder() == SYSTEM
    assert list(long_folder.iterdir()) == []


def test_a_missing_temporary_folder_is_passed_over(
    temporary: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert parent_of_a_new_folder() == SYSTEM


def test_a_folder_that_other_users_could_enter_is_passed_over(
    temporary: pytest.MonkeyPatch, long_folder: Path
) -> None:
    """As on a file system that keeps no modes."""
    with tempfile.TemporaryDirectory(dir=SYSTEM) as modeless:
        make = tempfile.mkdtemp

        def mkdtemp(*, prefix: str, dir: Path) -> str:  # noqa: A002 (tempfile's name)
            folder = make(prefix=prefix, dir=dir)
            if dir == Path(modeless):
                Path(folder).chmod(0o755)
            return folder

        temporary.setattr(tempfile, "tempdir", modeless)
        temporary.setattr(tempfile, "mkdtemp", mkdtemp)
        assert parent_of_a_new_folder() == SYSTEM
        assert list(Path(modeless).iterdir()) == []


def test_the_runtime_folder_is_used_where_no_other_is_usable(
    temporary: pytest.MonkeyPatch, long_folder: Path
) -> None:
    with tempfile.TemporaryDirectory(dir=SYSTEM) as runtime:
        temporary.setattr(tempfile, "tempdir", str(long_folder))
        temporary.setenv("XDG_RUNTIME_DIR", runtime)
        make = tempfile.mkdtemp

        def mkdtemp(*, prefix: str, dir: Path) -> str:  # noqa: A002 (tempfile's name)
            if dir == SYSTEM:
                raise OSError("Read-only file system")
            return make(prefix=prefix, dir=dir)

        temporary.setattr(tempfile, "mkdtemp", mkdtemp)
        assert parent_of_a_new_folder() == Path(runtime)


def test_without_a_usable_folder_the_error_names_each_and_the_fix(
    monkeypatch: pytest.MonkeyPatch, long_folder: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setattr(private_folder, "_parents", lambda: [long_folder, missing])
    with pytest.raises(ConfigurationError) as caught:
        make_private_folder()
    length = len(str(long_folder))
    assert (
        f"{long_folder} (a path of {length} bytes): AF_UNIX path too long" in caught.value.message
    )
    assert f"{missing} (a path of" in caught.value.message
    assert "No such file or directory" in caught.value.message
    assert "Set TMPDIR to a folder" in caught.value.fix
    assert "at most 47 bytes" in caught.value.fix
