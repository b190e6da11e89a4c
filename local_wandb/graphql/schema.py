"""The schema with its resolvers."""

from importlib.resources import files
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLSchema, GraphQLUnionType, build_schema

from local_wandb.graphql import (
    accounts,
    artifacts,
    automations,
    collections,
    history,
    links,
    projects,
    registries,
    runs,
    scalars,
    uploads,
    versions,
)
from local_wandb.graphql import files as file_resolvers
from local_wandb.graphql.pages import Connection, Edge, PageInfo
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.rows import Collection

CONNECTIONS = Resolvers()
CONNECTIONS.row(PageInfo)


def load_schema() -> GraphQLSchema:
    """Return the schema, ready to execute.

    Raises:
        MissingResolverError: A field of ``schema.graphql`` has no resolver.
    """
    text = files(__package__).joinpath("schema.graphql").read_text()
    schema = build_schema(text)
    scalars.install(schema)
    modules = (
        accounts,
        artifacts,
        automations,
        collections,
        file_resolvers,
        history,
        links,
        projects,
        registries,
        runs,
        uploads,
        versions,
    )
    resolvers = Resolvers(CONNECTIONS, *(module.RESOLVERS for module in modules))
    for name in schema.type_map:
        if name.endswith("Connection"):
            resolvers.row(Connection, name)
        elif name.endswith("Edge"):
            resolvers.row(Edge, name)
    resolvers.bind(schema)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            type_.resolve_type = type_name
    return schema


def type_name(row: Any, *_: Any) -> str:
    """Return the type name of a row behind an interface or a union.

    Args:
        row: A collection, a run or a user, for example.
    """
    if isinstance(row, Collection):
        return "ArtifactSequence" if row.kind == "SEQUENCE" else "ArtifactPortfolio"
    return type(row).__name__
