"""Errors of a gate's ``exchange``: what the path leads to, and what could be written instead."""

import json
from collections.abc import Iterable
from typing import Any

from weave.trace.refs import CallRef, OpRef, TableRef

from application.stored_json import custom_type, field_names, is_text, reference
from schemas.errors import ConfigurationError

_MOST_CHARACTERS = 60  # of a value in a message
_MOST_NAMES = 20  # of fields or keys in a message
_OPTIONAL = {"name", "description"}  # fields of every weave.Object


def is_an_op(application: str) -> ConfigurationError:
    """Return the error for an application that is an op."""
    return ConfigurationError(
        f"{application} is an op, which has no fields, so no model version can be exchanged in it.",
        fix="Publish a weave.Model that has the model's name in a field, and name it in rag_model.",
    )


def leads_nowhere(
    application: str, exchange: str, part: str, path: str, value: Any
) -> ConfigurationError:
    """Return the error for a path with a part that is not there.

    Args:
        application: The application.
        exchange: The path.
        part: The part that is not there.
        path: The path before that part; empty for the application itself.
        value: What is there.
    """
    missing = "no position" if isinstance(value, list) else "no"
    return ConfigurationError(
        f"exchange: {exchange} leads nowhere in {application}: {path or 'the application'} is"
        f" {_described(value)} and has {missing} {part}.",
        fix=_has(value, path) or "End the path before it, or take another one.",
    )


def broken_reference(
    application: str, exchange: str, path: str, error: ConfigurationError
) -> ConfigurationError:
    """Return the error for a nested object that cannot be read.

    Args:
        application: The application.
        exchange: The path.
        path: The path of the nested object.
        error: Why it cannot be read.
    """
    return ConfigurationError(
        f"exchange: {exchange} cannot be followed in {application}: {path} is stored elsewhere."
        f" {error.message}",
        fix="Publish the application again, or let the worker's key read that project.",
    )


def cannot_be_exchanged(
    application: str, path: str, value: Any, parent: tuple[str, Any]
) -> ConfigurationError:
    """Return the error for a path that leads to something else than a model.

    Args:
        application: The application.
        path: The path.
        value: What is there.
        parent: The path and the value of what contains it.
    """
    fix = _has(value, path) or _has(parent[1], parent[0], without=path.rpartition(".")[2])
    return ConfigurationError(
        f"exchange: {path} of {application} is {_described(value)}; a model version takes the"
        " place of a text, or of the text chat_model in an object.",
        fix=fix or "Publish an application that has the model's name in a field.",
    )


def takes_no_parameters(
    application: str, path: str, parameters: Iterable[str]
) -> ConfigurationError:
    """Return the error for parameters of a model that is only a name."""
    return ConfigurationError(
        f"chat_model sets {_listed(parameters)}, but exchange: {path} of {application} is a text,"
        " which has no parameters.",
        fix="Remove chat_model from the gate, or exchange an object with a chat_model.",
    )


def has_no_parameter(
    application: str, path: str, value: Any, parameters: Iterable[str]
) -> ConfigurationError:
    """Return the error for parameters that the object at the path does not have."""
    return ConfigurationError(
        f"chat_model sets {_listed(parameters)}, which exchange: {path} of {application},"
        f" {_described(value)}, does not have.",
        fix=f"Remove it from the gate; {path} has {_listed(field_names(value))}.",
    )


def _described(value: Any) -> str:
    found = reference(value)
    if isinstance(found, OpRef):
        return f"the op {found.name}"
    if isinstance(found, TableRef):
        return "a table of rows"
    if isinstance(found, CallRef):
        return "a call"
    if isinstance(value, str) and not is_text(value):
        return f"what Weave keeps of a function or object that it cannot store, {_short(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return _described_fields(value)
    return "empty" if value is None else f"the value {_short(json.dumps(value))}"


def _described_fields(value: dict[str, Any]) -> str:
    if kind := custom_type(value):
        return "an op" if kind == "Op" else f"a stored {kind.rpartition('.')[2]}"
    name = value.get("_class_name")
    if name is None:
        return "a dictionary"
    return f"an object of class {name}" if is_text(name) else "an object"


def _has(value: Any, path: str, without: str = "") -> str:
    """Return what can be written after a path, as a sentence; empty if nothing can."""
    where = path or "the application"
    if isinstance(value, list) and value:
        return f"The positions of {where} are 0 to {len(value) - 1}."
    possible = [name for name in field_names(value) if name != without and _may_lead(name, value)]
    return f"Write a path to the model's name; {where} has {_listed(possible)}." * bool(possible)


def _may_lead(name: str, value: dict[str, Any]) -> bool:
    is_unset = value[name] is None and name in _OPTIONAL
    return not is_unset and not isinstance(reference(value[name]), OpRef)


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    more = [] if len(given) <= _MOST_NAMES else [f"{len(given) - _MOST_NAMES} more"]
    return ", ".join([*given[:_MOST_NAMES], *more])


def _short(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."
