"""The one user, the team, the organisation and the server's features."""

from dataclasses import dataclass

from local_wandb.errors import NotFoundError
from local_wandb.graphql.context import Context
from local_wandb.graphql.pages import Connection, single_page
from local_wandb.graphql.resolvers import Resolvers

USERNAME = "local"

#: The enabled features (docs/upstream/wandb-protocol.md, "Server features"); clients treat every
#: other feature as disabled.
FEATURES = (
    "ARTIFACT_REGISTRY_SEARCH",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "LARGE_FILENAMES",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "QUERY_AUTOMATIONS_ON_ENTITY",
)


@dataclass(frozen=True)
class Feature:
    """A feature that clients query before they use it."""

    name: str
    is_enabled: bool = True


@dataclass(frozen=True)
class ServerInfo:
    """The features of this server."""

    features: tuple[Feature, ...] = tuple(Feature(name) for name in FEATURES)


@dataclass(frozen=True)
class User:
    """The one user: the owner of the API key."""

    id: int = 1
    name: str = USERNAME
    username: str = USERNAME
    email: str = f"{USERNAME}@localhost"
    admin: bool = True


@dataclass(frozen=True)
class Entity:
    """An owner of projects: the team, or the organisation for its registries."""

    id: int
    name: str
    entity_type: str


@dataclass(frozen=True)
class Organization:
    """The organisation, whose entity has the same name."""

    name: str
    id: int = 1


@dataclass(frozen=True)
class AdvancedRegistryFeatures:
    """Disabled, because the advanced search uses other field names.

    Source: docs/upstream/wandb-protocol.md, "Registry search".
    """

    advanced_search: bool = False


RESOLVERS = Resolvers()
RESOLVERS.row(Feature, "ServerFeature")
for _row in (ServerInfo, User, Entity, Organization, AdvancedRegistryFeatures):
    RESOLVERS.row(_row)
RESOLVERS.constant(ServerInfo(), "Query.serverInfo")
RESOLVERS.constant(User(), "Query.viewer")
RESOLVERS.constant({"max_cli_version": "999.0.0"}, "ServerInfo.cliVersionInfo")
RESOLVERS.constant("{}", "User.flags")
RESOLVERS.constant(single_page([]), "User.apiKeys")  # the only key is not readable
RESOLVERS.constant(None, "ApiKey.id", "ApiKey.name", "ApiKey.description")
RESOLVERS.constant(None, "User.deletedAt", "Entity.user", "Organization.coreWeaveOrganizationId")
RESOLVERS.constant(False, "Entity.readOnly")
RESOLVERS.constant(AdvancedRegistryFeatures(), "Organization.advancedRegistryFeatures")


def find_entity(context: Context, name: str | None) -> Entity | None:
    """Return an entity by its name, or None; without a name, return the team."""
    if name is None or name == context.config.entity:
        return Entity(1, context.config.entity, "team")
    if name == context.config.org:
        return Entity(2, context.config.org, "organization")
    return None


def require_entity(context: Context, name: str | None) -> Entity:
    """Return an entity by its name; without a name, return the team.

    Raises:
        NotFoundError: There is no such entity.
    """
    found = find_entity(context, name)
    if found is None:
        raise NotFoundError(f"entity '{name}' not found")
    return found


@RESOLVERS.field("Query.entity")
def _entity(context: Context, name: str | None = None) -> Entity | None:
    return find_entity(context, name)


@RESOLVERS.field("Query.organization")
def _organization(context: Context, name: str | None = None) -> Organization | None:
    return Organization(context.config.org) if name == context.config.org else None


@RESOLVERS.field("ServerInfo.frontendHost")
def _frontend_host(_: ServerInfo, context: Context) -> str:
    return context.urls.base_url


@RESOLVERS.field("User.entity")
def _default_entity_name(_: User, context: Context) -> str:
    return context.config.entity


@RESOLVERS.field("User.defaultEntity")
def _default_entity(_: User, context: Context) -> Entity:
    return require_entity(context, None)


@RESOLVERS.field("User.teams")
def _teams(_: User, context: Context) -> Connection:
    return single_page([require_entity(context, None)])


@RESOLVERS.field("User.organizations")
def _organizations(_: User, context: Context) -> list[Organization]:
    return [Organization(context.config.org)]


@RESOLVERS.field("Entity.organization")
def _organization_of(_: Entity, context: Context) -> Organization:
    return Organization(context.config.org)


@RESOLVERS.field("Organization.orgEntity")
def _entity_of(organization: Organization, context: Context) -> Entity:
    return require_entity(context, organization.name)
