"""Makes instances of the team's own classes from the objects that the Weave server has stored.

Weave's own ``ref.get()`` returns proxies whose ops are code from the server, and which have none of
the class's plain methods and private attributes. Here the imported classes are used, and the stored
data is passed to them. Each instance keeps the reference of its stored version, so the calls name
that version, and nothing is published again.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, cast

import weave
from pydantic import BaseModel, ValidationError
from weave.trace.context.weave_client_context import require_weave_client
from weave.trace.object_record import ObjectRecord
from weave.trace.ref_util import set_ref
from weave.trace.refs import ObjectRef, OpRef
from weave.trace.serialization.serialize import from_json
from weave.trace.vals import WeaveObject

from application.classes import Classes
from application.modules import Modules
from application.ops import Ops
from application.stored import read_json
from application.trace_call import trace_call
from schemas.errors import ConfigurationError

_PREPROCESS = "preprocess_model_input"
# How Weave stores what is neither JSON nor of a type that it knows: as its repr.
_TEXT_OF_OBJECT = re.compile(r"<.+ at 0x[0-9a-f]+>", re.DOTALL)
_METADATA = {"_class_name", "_bases"}
# These classes' own from_obj only pass boxed fields on; any other does something of its own.
_PASSING_FIELDS: tuple[Any, ...] = (
    weave.Scorer,
    weave.Evaluation,
    weave.StringPrompt,
    weave.MessagesPrompt,
)


class Instances:
    """Makes instances from stored objects; the same stored version is made once.

    Args:
        modules: The team's imported modules.
        allow_stored_code: Whether code from the Weave server may run where the modules have none,
            or another.
    """

    def __init__(self, modules: Modules, *, allow_stored_code: bool = False) -> None:
        self._ops = Ops(modules, allow_stored_code=allow_stored_code)
        self._classes = Classes(modules, self._ops, allow_stored_code=allow_stored_code)
        self._made: dict[str, Any] = {}

    def model(self, uri: str) -> Any:
        """Make the model: an instance of a ``weave.Model``, or an op.

        Args:
            uri: ``weave:///entity/project/object/name:digest``, or ``.../op/name:digest``.

        Raises:
            ConfigurationError: There is no such model, the modules do not define it as it was
                published, or its data does not fit.
        """
        model = self._at(ObjectRef.parse_uri(uri))
        if not isinstance(model, weave.Model) and not callable(model):
            raise ConfigurationError(
                f"{uri} is neither a weave.Model nor an op, but {type(model).__name__}.",
                fix="Name a published model in the gate's rag_model.",
            )
        return model

    def evaluation(self, uri: str) -> weave.Evaluation:
        """Make the Evaluation, with its dataset and its scorers.

        Raises:
            ConfigurationError: As for ``model``, or its ``preprocess_model_input`` was not
                published.
        """
        ref, record = _read(ObjectRef.parse_uri(uri))
        if not isinstance(record, ObjectRecord) or record._class_name != weave.Evaluation.__name__:
            kind = getattr(record, "_class_name", type(record).__name__)
            raise ConfigurationError(
                f"{uri} is of class {kind}, not Evaluation.",
                fix="Name a published Evaluation in the gate's evaluation.",
            )
        if isinstance(getattr(record, _PREPROCESS, None), str):
            raise ConfigurationError(
                f"The {_PREPROCESS} of {uri} is a plain function, which Weave stores as text only.",
                fix="Decorate it with @weave.op and publish the evaluation again.",
            )
        return cast(weave.Evaluation, self._under(ref, record))

    def _at(self, ref: ObjectRef) -> Any:
        """Return what a reference points to."""
        if ref.extra:  # into a version that was changed by hand and published again
            return self._value(_read_part(ref))
        if ref.uri not in self._made:
            self._made[ref.uri] = (
                self._ops.at(ref) if isinstance(ref, OpRef) else self._under(*_read(ref))
            )
        return self._made[ref.uri]

    def _under(self, ref: ObjectRef, value: Any) -> Any:
        """Make a stored value, under its version if it is an object."""
        made = self._value(value, ref)
        if isinstance(made, weave.Object):
            set_ref(made, ref)
        return made

    def _value(self, value: Any, ref: ObjectRef | None = None) -> Any:
        if isinstance(value, ObjectRef):
            return self._at(value)
        if isinstance(value, ObjectRecord):
            return self._record(value, ref)
        if isinstance(value, dict):
            return {key: self._value(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._value(inner) for inner in value]
        return value

    def _record(self, record: ObjectRecord, ref: ObjectRef | None) -> Any:
        """Make an object; one without a reference is stored in the place of a field's value."""
        record._class_name, record._bases = self._value([record._class_name, record._bases])
        uri = ref.uri if ref else f"A {record._class_name}"
        if ref is None and (value := self._classes.of_value(record)):
            return _made(value, self._fields(value, record), uri)
        if ref is None and not self._classes.is_object(record):
            return self._fields(BaseModel, record)  # the field's annotation knows the class
        cls = self._classes.of_object(record, uri)
        if _makes_itself(cls):
            return _by_itself(cls, record, ref)
        return _made(cls, self._fields(cls, record), uri)

    def _fields(self, cls: type, record: ObjectRecord) -> dict[str, Any]:
        fields = getattr(cls, "model_fields", {})
        values = {}
        for name, stored in vars(record).items():
            if name in _METADATA or (isinstance(stored, OpRef) and name not in fields):
                continue
            if name in weave.Object.model_fields and stored is None:
                continue  # a class may have an __init__ of its own without these
            field = fields.get(name)
            if field is not None and not field.is_required() and _is_text_of_object(stored):
                continue
            if field is not None and field.annotation is str and isinstance(stored, ObjectRef):
                values[name] = str(stored.uri)
                continue
            values[name] = self._value(stored)
        return values


def _is_text_of_object(stored: Any) -> bool:
    return isinstance(stored, str) and bool(_TEXT_OF_OBJECT.fullmatch(stored))


def _read(ref: ObjectRef) -> tuple[ObjectRef, Any]:
    digest, value = read_json(ref)
    return dataclasses.replace(ref, _digest=digest), _parsed(ref, value)


def _read_part(ref: ObjectRef) -> Any:
    with trace_call(f"read {ref.uri}"):
        answer = require_weave_client().server.refs_read_batch({"refs": [ref.uri]})
    return _parsed(ref, answer.vals[0])


def _parsed(ref: ObjectRef, value: Any) -> Any:
    return from_json(value, f"{ref.entity}/{ref.project}", require_weave_client().server)


def _makes_itself(cls: type[weave.Object]) -> bool:
    own = _function(cls)
    return own is not None and own not in map(_function, _PASSING_FIELDS)


def _function(cls: Any) -> Callable[..., Any] | None:
    return getattr(getattr(cls, "from_obj", None), "__func__", None)


def _by_itself(cls: Any, record: ObjectRecord, ref: ObjectRef | None) -> Any:
    """Let a class read its own fields, as Weave's Dataset does with its table."""
    return cls.from_obj(WeaveObject(record, ref, require_weave_client().server, None))


def _made(cls: type, fields: dict[str, Any], uri: str) -> Any:
    """Call the class with its fields.

    A class may have an ``__init__`` that accepts others; then the rest are assigned afterwards.
    """
    accepted = _accepted(cls)
    later = {} if accepted is None else {key: fields[key] for key in fields.keys() - accepted}
    try:
        made = cls(**{name: value for name, value in fields.items() if name not in later})
        for name, value in later.items():
            setattr(made, name, value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(
            f"{uri} does not fit {cls.__module__}.{cls.__qualname__}: {where}: {first['msg']}.",
            fix="Publish it from the installed version, or install the version that published it.",
        ) from error
    return made


def _accepted(cls: type) -> set[str] | None:
    """Return the arguments of a class's own ``__init__``; None means that it accepts all fields."""
    if issubclass(cls, BaseModel) and cls.__init__ is BaseModel.__init__:
        return None
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return None
    return set(parameters)
