"""What Weave stored, as people read it.

Weave stores an object as its fields with keys of its own, a value that it has a serializer for as
a ``CustomWeaveType``, and anything else as its ``repr`` (docs/upstream/weave-protocol.md, "Values
that change on the way").
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_OBJECT_KEYS = {"_type", "_class_name", "_bases"}
_UNSET = ("name", "description")  # every weave.Object has these two
_OP = re.compile(r"weave:///[^/]+/[^/]+/op/")
# Of an object without a repr of its own; the address says nothing.
_REPR = re.compile(r"<([\w.<>]+ object) at 0x[0-9a-f]+>")
# Common names of a passage's text, the most common one first.
_PASSAGE_TEXT = ("text", "page_content", "content")


def as_text(value: Any) -> str:
    """Show a value: a text as it is, nothing for null, and objects and lists as JSON."""
    shown = _without_bookkeeping(value)
    if shown is None:
        return ""
    if isinstance(shown, Mapping | list):
        return json.dumps(shown, default=str, ensure_ascii=False)
    return str(shown)


def as_passages(value: Any) -> Iterator[str]:
    """Show retrieved passages: a list of texts or objects, lists of them, or a single one."""
    if isinstance(value, list):
        for one in value:
            yield from as_passages(one)
    elif isinstance(value, Mapping):
        yield as_text(next((value[key] for key in _PASSAGE_TEXT if key in value), value))
    elif value not in (None, ""):
        yield as_text(value)


def value_at(value: Any, path: str) -> Any:
    """Return what a dotted path leads to, through keys and positions in lists.

    A key with dots takes precedence; an empty path leads to the value itself.

    Raises:
        LookupError: The path leads nowhere.
    """
    if not path:
        return value
    if isinstance(value, Mapping):
        key = _longest_key(value, path)
        return value_at(value[key], path[len(key) + 1 :])
    first, _, rest = path.partition(".")
    if isinstance(value, list) and first.isdecimal():
        return value_at(value[int(first)], rest)
    raise LookupError(path)


def paths_in(value: Any) -> Iterator[str]:
    """List the dotted paths to the values of an object, through nested objects but not lists."""
    for key, inner in _fields(value).items():
        below = [f"{key}.{path}" for path in paths_in(inner)]
        yield from below or [str(key)]


def _longest_key(value: Mapping[str, Any], path: str) -> str:
    key = path
    while key not in value:
        key, dot, _ = key.rpartition(".")
        if not dot:
            raise LookupError(path)
    return key


def _fields(value: Any) -> Mapping[str, Any]:
    """The fields of an object without Weave's own keys; none if it is no object."""
    if not isinstance(value, Mapping):
        return {}
    bases = value.get("_bases")
    if not (isinstance(bases, list) and value.keys() >= _OBJECT_KEYS):
        return value
    unset = _UNSET if "Object" in bases else ()
    return {
        key: inner
        for key, inner in value.items()
        if not (key in _OBJECT_KEYS or (key in unset and inner is None) or _is_op(inner))
    }


def _is_op(value: Any) -> bool:
    return isinstance(value, str) and _OP.match(value) is not None


def _without_bookkeeping(value: Any) -> Any:
    if isinstance(value, str):
        return _REPR.sub(r"<\1>", value) if _REPR.fullmatch(value) else value
    if isinstance(value, list):
        return [_without_bookkeeping(inner) for inner in value]
    if isinstance(value, Mapping):
        if value.get("_type") == "CustomWeaveType" and isinstance(value.get("weave_type"), Mapping):
            return _custom(value)
        return {key: _without_bookkeeping(inner) for key, inner in _fields(value).items()}
    return value


def _custom(value: Mapping[str, Any]) -> Any:
    """Show a value of a type that Weave has a serializer for; its content may be in files."""
    if "val" in value:
        return _without_bookkeeping(value["val"])
    files = value.get("files")
    names = files if isinstance(files, Mapping) else ()
    return f"<{' '.join([str(value['weave_type'].get('type')), *names])}>"
