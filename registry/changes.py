"""The versions in a registry, and those that changed since a given time.

W&B has a filter for "linked since" only in its advanced search, so the result depends on the server
(docs.wandb.ai, Find registry items; wandb 0.31, registries/_utils.py):

* with advanced search: every version that was linked since then.
* otherwise: versions whose artifact was created or changed since then. Only a full scan finds an
  old artifact that is linked now.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from registry.graphql import Graphql
from registry.versions import RegisteredVersion
from schemas.errors import ConfigurationError
from schemas.refs import ArtifactRef

# The SDK's RegistryVersions query without the unneeded fields. `project` shows whether the registry
# exists, because a missing registry has an empty list of versions.
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

# Servers without this feature do not have the field of the next query.
FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
ADVANCED = """
query FetchAdvancedRegistryFeatures($organization: String!) {
  organization(name: $organization) { advancedRegistryFeatures { advancedSearch } }
}
"""
_FEATURE = "ARTIFACT_COLLECTIONS_FILTERING_SORTING"

_PER_PAGE = 100  # as in the SDK; no larger limit is documented
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class LinkedVersion(RegisteredVersion):
    """A version with the attributes that decide whether it must be weighed.

    Attributes:
        linked_at: When it was linked to the collection.
        changed_at: The latest time that W&B reports for it.
        aliases: Its aliases in the collection.
        tags: The tags of its artifact, which are the same in every collection.
    """

    linked_at: datetime
    changed_at: datetime
    aliases: frozenset[str]
    tags: frozenset[str]


class Registries:
    """Reads registries.

    Args:
        graphql: The client for W&B.
    """

    def __init__(self, graphql: Graphql) -> None:
        self._graphql = graphql
        self._advanced_search: dict[str, bool] = {}

    def versions(
        self, organization: str, registry: str, since: datetime | None = None
    ) -> list[LinkedVersion]:
        """Read the versions in all collections of a registry.

        Args:
            organization: Name of the organization.
            registry: Full name of the registry.
            since: Read only the versions that changed since then, as far as the server can filter.

        Raises:
            ConfigurationError: The registry does not exist.
            PlatformError: W&B did not answer, or the process is stopping.
        """
        what = f"list the versions in {organization}/{registry}"
        variables = {
            "organization": organization,
            "registry": registry,
            "registryFilter": json.dumps({"name": registry}),
            "artifactFilter": since and json.dumps(self._changed(organization, since)),
        }
        return [
            _linked(organization, registry, node)
            for entity in self._pages(what, variables)
            for edge in entity["artifactMemberships"]["edges"]
            if (node := edge["node"]) and node["artifact"] and node["versionIndex"] is not None
        ]

    def _pages(self, what: str, variables: dict[str, Any]) -> Iterator[Any]:
        page: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            data = self._graphql.query(
                what, VERSIONS, **variables, cursor=page["endCursor"], perPage=_PER_PAGE
            )
            entity = (data["organization"] or {}).get("orgEntity")
            if not entity or not entity["project"]:
                raise ConfigurationError(
                    f"W&B could not {what}: there is no such registry.",
                    fix="Check the spelling, and that this API key has access.",
                )
            yield entity
            page = entity["artifactMemberships"]["pageInfo"]

    def _changed(self, organization: str, since: datetime) -> dict[str, Any]:
        after = {"$gt": since.astimezone(UTC).strftime(_TIME)}
        if self._has_advanced_search(organization):
            return {"acm_created_at": after}
        return {"$or": [{"created_at": after}, {"updated_at": after}]}

    def _has_advanced_search(self, organization: str) -> bool:
        if organization not in self._advanced_search:
            self._advanced_search[organization] = self._query_advanced_search(organization)
        return self._advanced_search[organization]

    def _query_advanced_search(self, organization: str) -> bool:
        what = f"read the search features of {organization}"
        features = self._graphql.query(what, FEATURES)["serverInfo"]["features"]
        if {"name": _FEATURE, "isEnabled": True} not in features:
            return False
        found = self._graphql.query(what, ADVANCED, organization=organization)["organization"]
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
