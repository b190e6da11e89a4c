"""The code's references to docs/upstream name pages and headings that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_SUFFIXES = {".py", ".graphql", ".md"}
_NAME_OF_PAGE = re.compile(r"docs/upstream/([\w-]+\.md)")
_REFERENCE = re.compile(rf'{_NAME_OF_PAGE.pattern}, ("[^"]+"(?:,? and "[^"]+")*)')
# A reference may continue on the next line, which in a comment begins with a number sign.
_LINE_BREAK = re.compile(r"\s*\n\s*(?:#:?\s+)?")


def _texts() -> Iterator[tuple[str, str]]:
    """Each file with its text on one line."""
    for folder in _ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith("."):
            for file in folder.rglob("*"):
                if file.suffix in _SUFFIXES:
                    yield str(file.relative_to(_ROOT)), _LINE_BREAK.sub(" ", file.read_text())


@pytest.fixture(scope="module")
def headings() -> dict[str, set[str]]:
    """The headings of each page."""
    return {
        page.name: set(re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE))
        for page in (_ROOT / "docs" / "upstream").glob("*.md")
    }


def test_references_to_upstream_facts_name_existing_headings(
    headings: dict[str, set[str]],
) -> None:
    references = {
        (file, page, heading)
        for file, text in _texts()
        for page, quoted in _REFERENCE.findall(text)
        for heading in re.findall(r'"([^"]+)"', quoted)
    }

    assert len(references) > 50
    assert {one for one in references if one[2] not in headings.get(one[1], ())} == set()


def test_references_to_upstream_pages_name_existing_pages(headings: dict[str, set[str]]) -> None:
    pages = {(file, page) for file, text in _texts() for page in _NAME_OF_PAGE.findall(text)}

    assert {one for one in pages if one[1] not in headings} == set()
