"""Where predictions find the question, both answers, the context and the topic.

A gate's ``columns`` name them. Where it names none, or one that no row has, common names are tried:
of twelve public applications, the question is ``question`` in seven and ``query`` in five, and the
answer has five names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.applications import Columns
from schemas.rows import Row
from worker.publishing.stored_values import paths_in, value_at

_LISTED = 20  # names in one remark


@dataclass(frozen=True)
class Paths:
    """The dotted paths to try, in this order.

    Attributes:
        input: Paths to the question, in the dataset's columns.
        truth: Paths to the expected answer, in the dataset's columns.
        answer: Paths to the answer, in the output.
        context: Paths to the retrieved passages, in the output.
        topic: Paths to the topic, in the dataset's columns.
    """

    input: tuple[str, ...]
    truth: tuple[str, ...]
    answer: tuple[str, ...]
    context: tuple[str, ...]
    topic: tuple[str, ...]


COMMON = Paths(
    input=("question", "input", "prompt", "query"),
    truth=("answer", "ground_truth", "expected", "target", "gold"),
    answer=(
        "answer",
        "result",
        "response",
        "generated_answer",
        "reply",
        "content",
        "output.content",
        "text",
        "output",
        "message.content",
        "choices.0.message.content",  # of OpenAI's ChatCompletion
    ),
    context=("context", "source_documents", "sources", "documents", "passages"),
    topic=("topic",),
)
_DATASET = ("input", "truth", "topic")
_OUTPUT = ("answer", "context")


def paths_for(columns: Columns | None, rows: Sequence[Row]) -> Paths:
    """Return the paths that a gate names, and the common ones for a name that no row has."""
    named = {name: paths for name, _, paths in _named(columns) if _in_any(rows, name, paths)}
    return Paths(**{**vars(COMMON), **named})


def explain_unknown(columns: Columns | None, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a remark on each of the gate's names that no row has.

    Args:
        columns: The names of the gate; None if it has none.
        rows: The rows; without any, nothing is unknown.
    """
    if not rows:
        return ()
    return tuple(
        _remark(name, path, rows)
        for name, path, paths in _named(columns)
        if not _in_any(rows, name, paths)
    )


def values_at(value: Any, paths: Iterable[str]) -> list[Any]:
    """Return the values at those of the paths that lead somewhere."""
    found = []
    for path in paths:
        try:
            found.append(value_at(value, path))
        except LookupError:
            continue
    return found


def _named(columns: Columns | None) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Yield each key that the gate names, its path, and the paths that this may mean."""
    for name, path in columns or Columns():
        if path is not None:
            yield name, path, _in_output(path) if name in _OUTPUT else (path,)


def _in_output(path: str) -> tuple[str, ...]:
    """Return what a part of the output may mean: ``output`` is the whole, or a key of that name."""
    first, _, rest = path.partition(".")
    if first != "output":
        return (path,)
    return (rest, path) if rest else (path, rest)


def _in_any(rows: Sequence[Row], name: str, paths: Sequence[str]) -> bool:
    return any(values_at(_searched(row, name), paths) for row in rows)


def _searched(row: Row, name: str) -> Any:
    return row.columns if name in _DATASET else row.output


def _remark(name: str, path: str, rows: Sequence[Row]) -> str:
    known = list(dict.fromkeys(found for row in rows for found in paths_in(_searched(row, name))))
    place, parts = (
        ("row", "columns of the dataset") if name in _DATASET else ("output", "parts of the output")
    )
    exist = f"The {parts} are {_listed(known)}." if known else f"The {place}s have no parts."
    return f"columns.{name}: {path} is in no {place}. {exist} Common names were tried instead."


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_LISTED])
    if len(names) > _LISTED:
        shown.append(f"{len(names) - _LISTED} more")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
