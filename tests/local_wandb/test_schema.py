"""The schema: complete, and enough for the documents that the installed SDKs send."""

import re
from pathlib import Path
from types import ModuleType

import pytest
import wandb
from graphql import build_schema, parse, print_ast, validate
from wandb.apis._generated import operations as api_operations
from wandb.sdk.artifacts._generated import operations as artifact_operations
from weave.compat.wandb.wandb_thin import internal_api as weave_api

from local_wandb.graphql.resolvers import MissingResolverError, Resolvers
from local_wandb.graphql.schema import load_schema

#: Documents of products that this server does not support.
OTHERS = re.compile(
    r"SWEEP|AGENT|TEAM|INVITE|SERVICE_ACCOUNT|SEARCH_USERS|CREATE_USER|API_KEY|REGISTRY_MEMBERS"
    r"|USER_MEMBERS|USER_REGISTRY_ROLE|RENAME_REGISTRY|DELETE_REGISTRY|SEQUENCE_TYPE"
)
#: Documents of wandb-core that this server supports; their texts are in the binary.
CORE = (
    "UpsertBucket",
    "RunResumeStatus",
    "CreateRunFiles",
    "CreateArtifact",
    "CreateArtifactManifest",
    "CreateArtifactFiles",
    "CommitArtifact",
    "UseArtifact",
    "LinkArtifact",
    "ClientIDMapping",
    "ServerFeaturesQuery",
    "Viewer",
    "RunParquetHistory",
    "SampledHistoryPage",
    "FetchOrgEntityFromEntity",
    "OrganizationCoreWeaveOrganizationID",
)


def python_documents(module: ModuleType) -> list[tuple[str, str]]:
    return [
        (name, text)
        for name, text in vars(module).items()
        if name.endswith("_GQL") and not OTHERS.search(name)
    ]


def core_document(name: str) -> str:
    """Return the text of an operation, cut out of the binary up to its closing brace."""
    binary = (Path(wandb.__file__).parent / "bin" / "wandb-core").read_bytes()
    found = re.search(rb"(query|mutation) %s [({][\t\n\x20-\x7e]+" % name.encode(), binary)
    assert found, f"{name} is not in wandb-core any more"
    text = found.group().decode()
    ends = [m.end() for m in re.finditer(r"\n}", text)]
    more = [end for end in ends if not text[end:].lstrip().startswith("fragment ")]
    return text[: more[0]]


@pytest.mark.parametrize(
    ("name", "text"),
    python_documents(api_operations) + python_documents(artifact_operations),
    ids=lambda value: value if value.isupper() else "",
)
def test_the_documents_of_the_python_sdk_are_valid(name: str, text: str) -> None:
    assert validate(load_schema(), parse(text)) == []


@pytest.mark.parametrize("name", CORE)
def test_the_documents_of_wandb_core_are_valid(name: str) -> None:
    assert validate(load_schema(), parse(core_document(name))) == []


def test_the_documents_of_weave_are_valid() -> None:
    documents = [value for value in vars(weave_api.Api).values() if hasattr(value, "document")]
    assert len(documents) >= 4
    for request in documents:
        assert validate(load_schema(), parse(print_ast(request.document))) == []


def test_a_field_without_a_resolver_stops_the_start() -> None:
    schema = build_schema("type Query { viewer: User } type User { name: String, shoe: Int }")
    resolvers = Resolvers()

    class User:
        name = "local"

    resolvers.row(User)
    resolvers.constant(User(), "Query.viewer")
    with pytest.raises(MissingResolverError, match=r"without a resolver: \['User.shoe'\]"):
        resolvers.bind(schema)


def test_a_resolver_without_a_field_stops_the_start() -> None:
    resolvers = Resolvers()
    resolvers.constant(1, "Query.one", "Query.two")
    with pytest.raises(MissingResolverError, match=r"without a field: \['Query.two'\]"):
        resolvers.bind(build_schema("type Query { one: Int }"))


def test_a_resolver_that_names_an_unknown_argument_stops_the_start() -> None:
    resolvers = Resolvers()

    @resolvers.field("Query.one")
    def _one(context: object, wrong_name: str) -> int:
        raise AssertionError

    with pytest.raises(MissingResolverError, match=r"Query\.one has no argument"):
        resolvers.bind(build_schema("type Query { one(name: String): Int }"))
