"""Reads a page as a browser does, as far as the tests need."""

from collections import defaultdict
from html.parser import HTMLParser
from typing import Self

_VOID = {"br", "meta"}
_SILENT = {"style", "title"}


class Page(HTMLParser):
    """The text of a page by section; the part before the first section is named ``header``.

    Attributes:
        tags: Every element's name, in order.
        attributes: Every attribute as element name, attribute name and value.
        values: The values of each section's ``data`` elements.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.values: defaultdict[str, list[float]] = defaultdict(list)
        self._words: defaultdict[str, list[str]] = defaultdict(list)
        self._open: list[str] = []
        self._section = "header"

    @classmethod
    def of(cls, html: str) -> Self:
        page = cls()
        page.feed(html)
        page.close()
        assert page._open == [], f"{page._open} stay open"
        return page

    @property
    def sections(self) -> list[str]:
        return list(self._words)

    def text(self, section: str) -> str:
        return " ".join(" ".join(self._words[section]).split())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [value for of, name, value in self.attributes if (of, name) == (tag, attribute)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if data.strip() and not _SILENT & set(self._open):
            self._words[self._section].append(data)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), f"<{tag}> has an attribute twice"
        self.attributes += [(tag, name, value) for name, value in found.items()]
        if tag == "section":
            self._section = found["id"]
        if tag == "data":
            self.values[self._section].append(float(found["value"]))
