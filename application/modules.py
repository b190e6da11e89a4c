"""The team's modules: imports them, and finds the classes and ops that they define."""

import dataclasses
import importlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType
from typing import Any

import weave
from pydantic import BaseModel
from weave.trace.op import is_op
from weave.trace.weave_client import sanitize_object_name

from schemas.errors import ConfigurationError


class Modules:
    """What imported modules define, by name.

    A name that a module imports from another package counts only if one of the modules is of that
    package too: else each module would define all of Weave.

    Attributes:
        names: The modules, in words.
        objects: Subclasses of ``weave.Object``, and those that they extend.
        values: Other pydantic models, and dataclasses, which Weave stores within an object.
        ops: Functions with ``@weave.op``, by the name that they are published under.
    """

    def __init__(self, modules: Sequence[Any]) -> None:
        self.names = ", ".join(module.__name__ for module in modules)
        self.objects: dict[str, list[type[weave.Object]]] = defaultdict(list)
        self.values: dict[str, list[type]] = defaultdict(list)
        self.ops: dict[str, list[Any]] = defaultdict(list)
        self._packages = {package_of(module.__name__) for module in modules}
        for module in modules:
            for value in list(vars(module).values()):
                self._add(value)

    def _add(self, value: Any) -> None:
        if isinstance(value, type):
            for cls in value.__mro__:
                self._add_class(cls)
        elif isinstance(value, FunctionType) and is_op(value) and self._defines(value):
            _append(self.ops[sanitize_object_name(value.name)], value)

    def _add_class(self, cls: type) -> None:
        if not self._defines(cls):
            return
        if issubclass(cls, weave.Object):
            _append(self.objects[cls.__name__], cls)
        elif issubclass(cls, BaseModel) or dataclasses.is_dataclass(cls):
            _append(self.values[cls.__name__], cls)

    def _defines(self, value: Any) -> bool:
        return package_of(value.__module__) in self._packages


def import_modules(names: Iterable[str]) -> Modules:
    """Import modules.

    Raises:
        ConfigurationError: One of them cannot be imported.
    """
    return Modules(list(_imported(names)))


def _imported(names: Iterable[str]) -> Iterator[Any]:
    for name in names:
        try:
            yield importlib.import_module(name)
        except (Exception, SystemExit) as error:  # a module may raise anything
            raise ConfigurationError(
                f"{sys.executable} cannot import {name}: {type(error).__name__}: {error}.",
                fix="Install it there, or correct application.import or application.python in "
                "the gate.",
            ) from error


def package_of(module: str) -> str:
    """Return the top-level package of a module."""
    return module.partition(".")[0]


def _append(found: list[Any], value: Any) -> None:
    if value not in found:
        found.append(value)
