"""What ``make test-fast`` does not even import."""

from pathlib import Path

import pytest

from tests import groups
from tests.groups import is_left_out

_ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("file", "markers", "left_out"),
    [
        ("tests/engine/test_merge.py", "not engine and not slow and not long", True),
        ("tests/engine/test_merge.py", "not long", False),
        ("tests/engine/test_merge.py", "", False),
        ("tests/bus/test_ledger.py", "not engine and not slow and not long", False),
        ("tests/engine", "not engine and not slow and not long", False),
    ],
)
def test_only_slow_files_are_left_out(file: str, markers: str, left_out: bool) -> None:
    assert (_ROOT / file).exists()
    assert is_left_out(_ROOT, _ROOT / file, markers) is left_out


def test_every_file_that_is_named_exists() -> None:
    assert [file for file in groups._ORDER if not (_ROOT / file).is_file()] == []
