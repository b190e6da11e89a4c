"""The events of automations, and the request bodies that describe them."""

import json
import re
from dataclasses import dataclass

#: The types of events, as W&B stores them.
LINKED = "LINK_MODEL"
ALIASED = "ADD_ARTIFACT_ALIAS"

#: The body of W&B's own examples (docs/upstream/wandb-webhooks.md, "Payload").
EXAMPLE_PAYLOAD = json.dumps(
    {
        name: f"${{{name}}}"
        for name in (
            "event_type",
            "event_author",
            "alias",
            "artifact_version",
            "artifact_version_string",
            "artifact_collection_name",
            "project_name",
            "entity_name",
        )
    }
)

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class VersionEvent:
    """A version was linked into a collection, or got an alias there.

    Attributes:
        type: ``LINKED`` or ``ALIASED``.
        aliases: The alias that was added, or all that came with the link.
        artifact_id: The opaque id of the artifact.
        author: The name of the user.
        entity: The entity that owns the project.
        project: The name of the project; a registry's name has its prefix.
        project_id: The primary key of the project.
        collection: The name of the collection.
        collection_id: The primary key of the collection.
        version: The version number in that collection.
    """

    type: str
    aliases: tuple[str, ...]
    artifact_id: str
    author: str
    entity: str
    project: str
    project_id: int
    collection: str
    collection_id: int
    version: int

    @property
    def path(self) -> str:
        """``entity/project/collection:vN``."""
        return f"{self.entity}/{self.project}/{self.collection}:v{self.version}"

    def variables(self) -> dict[str, str]:
        """Return the values that a payload can name as ``${variable}``."""
        return {
            "event_type": "LINK_ARTIFACT" if self.type == LINKED else self.type,
            "event_author": self.author,
            "alias": self.aliases[0] if self.type == ALIASED else "",
            "artifact_version": f"wandb-artifact://_id/{self.artifact_id}",
            "artifact_version_string": self.path,
            "artifact_collection_name": self.collection,
            "project_name": self.project,
            "entity_name": self.entity,
        }


def render(payload: str, event: VersionEvent) -> bytes:
    """Return the body of a delivery.

    Args:
        payload: JSON text with variables in its strings, at any depth; unknown variables stay as
            they are.
        event: The source of the values.
    """
    escaped = {name: json.dumps(value)[1:-1] for name, value in event.variables().items()}
    return _VARIABLE.sub(lambda found: escaped.get(found[1], found[0]), payload).encode()
