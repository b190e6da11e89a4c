"""The log of an application keeps the newest part of what it prints."""

import os
from pathlib import Path

from worker.applications.log import ApplicationLog


def _printed(path: Path, *lines: str, limit: int = 2**20) -> ApplicationLog:
    log = ApplicationLog(path, limit)
    for line in lines:
        os.write(log.writer, f"{line}\n".encode())
    log.close()
    return log


def test_what_is_printed_is_in_the_file(tmp_path: Path) -> None:
    log = _printed(tmp_path / "logs" / "it.log", "hello", "wörld")
    assert log.path.read_text() == "hello\nwörld\n"
    assert log.last_lines() == "hello\nwörld"


def test_the_older_half_of_a_long_log_goes(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(10_000)]
    log = _printed(tmp_path / "it.log", *lines, limit=4000)
    assert log.path.stat().st_size <= 4000
    assert log.path.read_text().endswith("line 9998\nline 9999\n")


def test_a_new_log_replaces_the_one_before(tmp_path: Path) -> None:
    _printed(tmp_path / "it.log", "before")
    assert _printed(tmp_path / "it.log", "after").path.read_text() == "after\n"


def test_the_last_lines_are_few(tmp_path: Path) -> None:
    log = _printed(tmp_path / "it.log", *(str(number) for number in range(100)))
    assert log.last_lines().splitlines() == [str(number) for number in range(88, 100)]


def test_a_folder_keeps_the_newest_logs(tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / f"{number}.log"
        path.touch()
        os.utime(path, (number, number))
    _printed(tmp_path / "new.log", "new")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"new.log", *(f"{number}.log" for number in range(11, 60))}
