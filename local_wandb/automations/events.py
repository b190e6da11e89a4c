"""What automations hear about, and the body that they make of it."""

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
        type: LINKED or ALIASED.
        aliases: the one that was added, or all that were given with the link.
        artifact_id: the opaque id of the artifact.
        author: name of the user.
        entity: that owns the project.
        project: name of the project; a registry has its prefix.
        project_id: its row.
        collection: in the project.
        collection_id: its row.
        version: number in that collection.
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
        """`entity/project/collection:vN`."""
        return f"{self.entity}/{self.project}/{self.collection}:v{self.version}"

    def variables(self) -> dict[str, str]:
        """What a payload may name as `${variable}`."""
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
    """The body of a delivery.

    Args:
        payload: JSON text with variables in its strings, however deep; one that is not known stays.
        event: gives the values.
    """
    escaped = {name: json.dumps(value)[1:-1] for name, value in event.variables().items()}
    return _VARIABLE.sub(lambda found: escaped.get(found[1], found[0]), payload).encode()
