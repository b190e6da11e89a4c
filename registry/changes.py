"""What a registry holds, and what changed in it since.

W&B names no filter for "linked since" but in its advanced search, so what can be found by a change
depends on the server (docs.wandb.ai, Find registry items; wandb 0.31, registries/_utils.py):

* advanced search: every version that was linked since.
* otherwise: versions whose artifact was made or changed since. An old artifact that is linked
  now is found by a look at everything.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from registry.graphql import Graphql
from registry.versions import RegisteredVersion
from schemas.errors import ConfigurationError
from schemas.refs import ArtifactRef

# The SDK's RegistryVersions, less what is not needed; `project` tells whether there is a registry,
# because the versions of none are an empty list.
VERSIONS = """
query RegistryVersions($organization: String!, $registry: String, $registryFilter: JSONString,
    $artifactFilter: JSONString, $cursor: String, $perPage: Int) {
  organization(name: $organization) {
    orgEntity {
      project(name: $registry) { id }
      artifactMemberships(projectFilters: $registryFilter, filters: $artifactFilter,
          after: $cursor, first: $perPage) {
        pageInfo { endCursor hasNextPage }
        edges {
          node {
            versionIndex
            createdAt
            aliases { alias }
            artifactCollection { name }
            artifact { id createdAt updatedAt tags { name } }
          }
        }
      }
    }
  }
}
"""

# Servers without the feature do not know the field that the other query asks for.
FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
ADVANCED = """
query FetchAdvancedRegistryFeatures($organization: String!) {
  organization(name: $organization) { advancedRegistryFeatures { advancedSearch } }
}
"""
_FEATURE = "ARTIFACT_COLLECTIONS_FILTERING_SORTING"

_PER_PAGE = 100  # as the SDK asks; whether W&B gives more is not documented
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class LinkedVersion(RegisteredVersion):
    """A version with what tells whether it must be weighed.

    Attributes:
        linked_at: when it was linked to the collection.
        changed_at: the latest time that W&B tells of it.
        aliases: that it holds in the collection now.
        tags: of the artifact behind it, so they are the same in each collection.
    """

    linked_at: datetime
    changed_at: datetime
    aliases: frozenset[str]
    tags: frozenset[str]


class Registries:
    """Reads registries.

    Args:
        graphql: asks W&B.
    """

    def __init__(self, graphql: Graphql) -> None:
        self._graphql = graphql
        self._searches: dict[str, bool] = {}

    def versions(
        self, organization: str, registry: str, since: datetime | None = None
    ) -> list[LinkedVersion]:
        """The versions in all collections of a registry.

        Args:
            organization: its name.
            registry: full name of the registry.
            since: read only what changed since, as far as the server can tell.

        Raises:
            ConfigurationError: there is no such registry.
            PlatformError: W&B did not answer, or this process is told to stop.
        """
        what = f"list the versions in {organization}/{registry}"
        asked = {
            "organization": organization,
            "registry": registry,
            "registryFilter": json.dumps({"name": registry}),
            "artifactFilter": since and json.dumps(self._changed(organization, since)),
        }
        return [
            _linked(organization, registry, node)
            for entity in self._pages(what, asked)
            for edge in entity["artifactMemberships"]["edges"]
            if (node := edge["node"]) and node["artifact"] and node["versionIndex"] is not None
        ]

    def _pages(self, what: str, asked: dict[str, Any]) -> Iterator[Any]:
        page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            data = self._graphql.ask(
                what, VERSIONS, **asked, cursor=page["endCursor"], perPage=_PER_PAGE
            )
            entity = (data["organization"] or {}).get("orgEntity")
            if not entity or not entity["project"]:
                raise ConfigurationError(
                    f"W&B could not {what}: there is no such registry.",
                    fix="Check the spelling, and that this API key may see it.",
                )
            yield entity
            page = entity["artifactMemberships"]["pageInfo"]

    def _changed(self, organization: str, since: datetime) -> dict[str, Any]:
        after = {"$gt": since.astimezone(UTC).strftime(_TIME)}
        if self._has_advanced_search(organization):
            return {"acm_created_at": after}
        return {"$or": [{"created_at": after}, {"updated_at": after}]}

    def _has_advanced_search(self, organization: str) -> bool:
        if organization not in self._searches:
            self._searches[organization] = self._ask_for_advanced_search(organization)
        return self._searches[organization]

    def _ask_for_advanced_search(self, organization: str) -> bool:
        what = f"tell how {organization} searches"
        features = self._graphql.ask(what, FEATURES)["serverInfo"]["features"]
        if {"name": _FEATURE, "isEnabled": True} not in features:
            return False
        found = self._graphql.ask(what, ADVANCED, organization=organization)["organization"]
        return bool(((found or {}).get("advancedRegistryFeatures") or {}).get("advancedSearch"))


def _linked(organization: str, registry: str, node: Any) -> LinkedVersion:
    artifact = node["artifact"]
    times = (node["createdAt"], artifact["createdAt"], artifact["updatedAt"])
    linked_at, *others = (datetime.fromisoformat(time) for time in times if time)
    return LinkedVersion(
        ref=ArtifactRef(
            entity=organization,
            project=registry,
            collection=node["artifactCollection"]["name"],
            version=f"v{node['versionIndex']}",
        ),
        artifact_id=artifact["id"],
        linked_at=linked_at,
        changed_at=max(linked_at, *others),
        aliases=frozenset(alias["alias"] for alias in node["aliases"]),
        tags=frozenset(tag["name"] for tag in artifact["tags"]),
    )
