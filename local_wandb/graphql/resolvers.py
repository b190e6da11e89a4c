"""Maps every field of the schema to the function or attribute that resolves it."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
)

from local_wandb.graphql.context import Context
from local_wandb.graphql.ids import global_id
from local_wandb.graphql.names import snake_case

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


class MissingResolverError(Exception):
    """The schema and the resolvers do not match, so the server must not start."""


class Resolvers:
    """The resolvers of one or more modules.

    A resolver takes ``(source, context, **arguments)``, for Query and Mutation
    ``(context, **arguments)``. It names, in snake_case, the arguments that it uses; for a mutation
    these are the fields of its input. A field without a resolver is an attribute of the class
    behind its type.

    Args:
        parts: Resolvers to combine.
    """

    def __init__(self, *parts: "Resolvers") -> None:
        self._functions: dict[str, Callable[..., Any]] = {}
        self._rows: dict[str, type] = {}
        for part in parts:
            self._functions |= part._functions
            self._rows |= part._rows

    def row(self, row: type, *type_names: str) -> None:
        """Set the class behind one or more types of the schema.

        Args:
            row: The class whose attributes resolve the fields.
            type_names: The types; by default the one with the class's name.
        """
        for name in type_names or (row.__name__,):
            self._rows[name] = row

    def field(self, *paths: str) -> Callable[[FunctionT], FunctionT]:
        """Register the decorated function.

        Args:
            paths: ``Type.field`` of each field that the function resolves.
        """

        def register(function: FunctionT) -> FunctionT:
            for path in paths:
                self._functions[path] = function
            return function

        return register

    def constant(self, value: Any, *paths: str) -> None:
        """Resolve fields to a constant.

        Args:
            paths: ``Type.field`` of each field.
        """
        for path in paths:
            self._functions[path] = lambda *_: value

    def bind(self, schema: GraphQLSchema) -> None:
        """Set the resolver of every field of a schema.

        Args:
            schema: The schema, changed in place.

        Raises:
            MissingResolverError: A field has no resolver, or a resolver has no field.
        """
        unused = set(self._functions)
        missing = []
        for path, type_, name, field in _fields(schema):
            unused.discard(path)
            resolve = self._answer(path, type_, name, field)
            if resolve is None:
                missing.append(path)
            field.resolve = resolve
        if missing or unused:
            raise MissingResolverError(
                f"fields without a resolver: {missing}; resolvers without a field: {sorted(unused)}"
            )

    def _answer(
        self, path: str, type_: GraphQLObjectType, name: str, field: GraphQLField
    ) -> Callable[..., Any] | None:
        function = self._functions.get(path)
        if function is not None:
            if type_.name == "Mutation":
                return _mutation(path, function, field)
            return _query(path, function, field, rooted=type_.name == "Query")
        attribute = snake_case(name)
        if not _has_attribute(self._rows.get(type_.name), attribute):
            return None
        if name == "id":
            return lambda source, _info: global_id(source)
        return lambda source, _info: getattr(source, attribute)


def _fields(
    schema: GraphQLSchema,
) -> Iterator[tuple[str, GraphQLObjectType, str, GraphQLField]]:
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", type_, name, field


def _has_attribute(row: type | None, name: str) -> bool:
    return row is not None and (
        hasattr(row, name) or name in getattr(row, "__dataclass_fields__", {})
    )


def _query(
    path: str, function: Callable[..., Any], field: GraphQLField, *, rooted: bool
) -> Callable[..., Any]:
    names = {name: snake_case(name) for name in field.args}
    used = _used(path, function, set(names.values()), leading=1 if rooted else 2)

    def resolve(source: Any, info: GraphQLResolveInfo[Context], **arguments: Any) -> Any:
        given = {names[name]: value for name, value in arguments.items() if names[name] in used}
        return (
            function(info.context, **given) if rooted else function(source, info.context, **given)
        )

    return resolve


def _mutation(path: str, function: Callable[..., Any], field: GraphQLField) -> Callable[..., Any]:
    required = field.args["input"].type
    input_type = required.of_type if isinstance(required, GraphQLNonNull) else required
    if not isinstance(input_type, GraphQLInputObjectType):
        raise MissingResolverError(f"{path} has no input object")
    names = {name: snake_case(name) for name in input_type.fields}
    used = _used(path, function, set(names.values()), leading=1)

    def resolve(_source: None, info: GraphQLResolveInfo[Context], input: dict[str, Any]) -> Any:  # noqa: A002
        given = {names[name]: value for name, value in input.items() if names[name] in used}
        return function(info.context, **given)

    return resolve


def _used(
    path: str, function: Callable[..., Any], known: set[str], *, leading: int
) -> frozenset[str]:
    parameters = list(inspect.signature(function).parameters.values())[leading:]
    used = {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL}
    if not used <= known:
        raise MissingResolverError(f"{path} has no argument {sorted(used - known)}")
    return frozenset(used)
