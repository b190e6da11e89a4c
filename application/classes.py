"""The classes of stored objects: the team's, Weave's own, or made from what is stored."""

import importlib
from contextlib import suppress
from typing import Any

import weave
from pydantic import create_model
from weave.trace.object_record import ObjectRecord
from weave.trace.refs import OpRef

from application.modules import Modules
from application.ops import Ops
from schemas.errors import ConfigurationError


class Classes:
    """Finds the class of a stored object, which names it without its module.

    Args:
        modules: The team's imported modules.
        ops: Compares the classes' ops.
        allow_stored_code: Whether a class may be made from stored ops.
    """

    def __init__(self, modules: Modules, ops: Ops, *, allow_stored_code: bool) -> None:
        self._modules = modules
        self._ops = ops
        self._allow_stored_code = allow_stored_code

    def is_object(self, record: ObjectRecord) -> bool:
        """Whether a stored object is of a subclass of ``weave.Object``."""
        return weave.Object.__name__ in (record._class_name, *record._bases)

    def of_value(self, record: ObjectRecord) -> type | None:
        """Return the team's pydantic model or dataclass that is stored as a part of an object."""
        found = self._modules.values.get(record._class_name, [])
        return found[0] if len(found) == 1 else None

    def of_object(self, record: ObjectRecord, uri: str) -> type[weave.Object]:
        """Return the class of an object, whose ops are those that are stored.

        Args:
            record: The stored object.
            uri: Its reference, for messages.

        Raises:
            ConfigurationError: No module defines the class, several do, or an op of it has another
                source; and stored code may not run.
        """
        cls = self._known(record, uri)
        if cls is None and not self._allow_stored_code:
            raise ConfigurationError(
                f"{uri} is of class {record._class_name}, which none of {self._modules.names} "
                "defines.",
                fix="Name the module that defines it in application.import.",
            )
        base = cls or self._base(record)
        replaced = self._ops.of_class(base, _op_refs(record, base))
        if not replaced and cls is not None:
            return cls
        return _extended(base, record, replaced)

    def _known(self, record: ObjectRecord, uri: str) -> type[weave.Object] | None:
        name = record._class_name
        found = [*self._modules.objects.get(name, []), *_weaves_own(name)]
        same_bases = [cls for cls in found if _bases(cls) == record._bases]
        found = same_bases or found
        if len(found) > 1:
            defined = " and ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in found)
            raise ConfigurationError(
                f"{uri} is of class {name}, which is both {defined}.",
                fix="Name only one of the modules in application.import, or rename a class.",
            )
        return found[0] if found else None

    def _base(self, record: ObjectRecord) -> type[weave.Object]:
        """Return the nearest base that is known here."""
        for name in record._bases:
            if found := [*self._modules.objects.get(name, []), *_weaves_own(name)]:
                return found[0]
        return weave.Object


def _op_refs(record: ObjectRecord, cls: type[weave.Object]) -> dict[str, OpRef]:
    """Return the stored ops of a class: not those that are the value of a field."""
    return {
        name: value
        for name, value in vars(record).items()
        if isinstance(value, OpRef) and name not in cls.model_fields
    }


def _bases(cls: type) -> list[str]:
    """Return the names of a class's bases as Weave stores them."""
    return [base.__name__ for base in cls.mro()[1:-1]]


def _weaves_own(name: str) -> list[type[weave.Object]]:
    found = getattr(weave, name, None)
    with suppress(ImportError):  # older versions of Weave have scorers as an extra
        found = found or getattr(importlib.import_module("weave.scorers"), name, None)
    return [found] if isinstance(found, type) and issubclass(found, weave.Object) else []


def _extended(
    base: type[weave.Object], record: ObjectRecord, ops: dict[str, Any]
) -> type[weave.Object]:
    """Make a class with the stored object's name, further fields, and stored ops.

    A class is needed, not a proxy: an Evaluation makes a bare ``Scorer`` of a proxy (weave 0.54,
    ``cast_to_scorer``), and only a class binds its ops and has the base's plain methods.
    """
    further = vars(record).keys() - base.model_fields.keys() - ops.keys()
    fields = {
        name: (Any, None)
        for name in further
        if not name.startswith("_") and not isinstance(getattr(record, name), OpRef)
    }
    made: type[weave.Object] = create_model(record._class_name, __base__=base, **fields)  # type: ignore[call-overload]
    for name, op in ops.items():
        setattr(made, name, op)
    return made
