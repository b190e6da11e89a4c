from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.verdicts import Verdict
from tests.worker.publishing.report import cases
from worker.publishing.report import write_report


def _of(collection: str) -> Verdict:
    weighing = cases.failed().weighing.model_copy(update={"collection": f"acme/r/{collection}"})
    return cases.failed().model_copy(update={"weighing": weighing})


def test_a_report_is_named_after_gate_collection_and_version(tmp_path: Path) -> None:
    path = write_report("<p>", tmp_path / "reports", cases.failed())
    assert path.parent == tmp_path / "reports"
    assert path.name.startswith("climate-rag-Finetuned-SmolLM2-v3-")
    assert path.suffix == ".html"


def test_a_later_verdict_replaces_the_page(tmp_path: Path) -> None:
    first = write_report("old", tmp_path, cases.failed())
    second = write_report("neu 新", tmp_path, cases.promoted())
    assert first == second
    assert second.read_text(encoding="utf-8") == "neu 新"
    assert list(tmp_path.iterdir()) == [second]


@pytest.mark.parametrize("collection", ["..", "気候モデル", "a b", "a-b", "C\\x", "n" * 300])
def test_every_collection_gets_a_separate_file(tmp_path: Path, collection: str) -> None:
    others = {write_report("", tmp_path, _of(name)) for name in ("a.b", "x")}
    path = write_report("", tmp_path, _of(collection))
    assert path not in others
    assert path.parent == tmp_path
    assert path.name.isascii()


def test_a_folder_that_cannot_be_written_to_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written to .*file: (Not a|File)"):
        write_report("", tmp_path / "file", cases.failed())
