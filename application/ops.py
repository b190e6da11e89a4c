"""The team's ops: those of the imported modules where their source is the one that is stored."""

from typing import Any

from weave.trace.op import is_op
from weave.trace.ref_util import set_ref
from weave.trace.refs import OpRef

from application.modules import Modules, package_of
from application.op_source import source_digest, stored_op, stored_source_digest
from schemas.errors import ConfigurationError

_UNCOMPARED = {"weave", "application"}
_ALLOW = "set allow_stored_code: true in the gate to run the stored code"


class Ops:
    """Compares the stored source of ops with the imported one.

    Args:
        modules: The team's imported modules.
        allow_stored_code: Whether a stored op may run where the modules have none, or another.
    """

    def __init__(self, modules: Modules, *, allow_stored_code: bool) -> None:
        self._modules = modules
        self._allow_stored_code = allow_stored_code

    def at(self, ref: OpRef) -> Any:
        """Return a function's op under its stored version.

        Raises:
            ConfigurationError: No module has it with that source, and stored code may not run.
        """
        found = self._modules.ops.get(ref.name, [])
        stored = stored_source_digest(ref)
        for op in found:
            if source_digest(op) == stored:
                set_ref(op, ref)
                return op
        if self._allow_stored_code:
            return stored_op(ref)
        if found:
            raise _differs(ref, found[0], stored)
        raise ConfigurationError(
            f"The op {ref.uri} is defined by none of {self._modules.names}.",
            fix=f"Name the module that defines it in application.import, or {_ALLOW}.",
        )

    def of_class(self, cls: type, refs: dict[str, OpRef]) -> dict[str, Any]:
        """Set the stored versions on the ops of a class.

        Weave's and Weighbridge's own ops are not compared: their versions are installed on purpose.

        Args:
            cls: The class.
            refs: The ops that are stored with an object of it, by attribute.

        Returns:
            The ops whose stored code must run in place of the class's own.

        Raises:
            ConfigurationError: The class has another source, and stored code may not run.
        """
        return {name: op for name, ref in refs.items() if (op := self._replaced(cls, name, ref))}

    def _replaced(self, cls: type, name: str, ref: OpRef) -> Any:
        """Return the stored op where the class's own is another; None where it is the same."""
        own = getattr(cls, name, None)
        stored = stored_source_digest(ref)
        if is_op(own) and source_digest(own) == stored:
            set_ref(own, ref)
            return None
        if is_op(own) and own.name == ref.name and package_of(own.__module__) in _UNCOMPARED:
            return None
        if self._allow_stored_code:
            return stored_op(ref)
        raise _differs(ref, own, stored)


def _differs(ref: OpRef, own: Any, stored: str) -> ConfigurationError:
    installed = (
        f"{own.__module__} has source {source_digest(own)}"
        if is_op(own)
        else "the installed class has no such op"
    )
    return ConfigurationError(
        f"The op {ref.name} is not the published one: {ref.uri} has source {stored}, {installed}.",
        fix=f"Publish it from the installed version, install the published version, or {_ALLOW}.",
    )
