"""Events, the first message on the bus: a model version appeared."""

import hashlib
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import InternalError
from schemas.refs import ArtifactRef

Source = Literal["webhook", "poller", "manual"]


class ModelVersionEvent(BaseModel):
    """A producer saw a version appear in a collection.

    Attributes:
        ref: The version as reported; it may still be named by an alias.
        artifact_id: W&B's id of the artifact, where the producer knows it.
        source: Which producer sent the event.
        author: Who linked or requested the version, where known.
        alias: The alias that the version got; None when it was linked.
        noticed_at: When the producer saw it.
        gate: Weigh under this gate only; None means every gate that watches the collection.
        force: Weigh again although there is a verdict.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    artifact_id: str | None = None
    source: Source
    author: str | None = None
    alias: str | None = None
    noticed_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    gate: str | None = None
    force: bool = False

    @property
    def id(self) -> str:
        """The event's identity: 16 hexadecimal digits.

        W&B sends no delivery id (docs/upstream/wandb-webhooks.md, "Headers and signature"), so a
        repeated delivery is recognized by its contents. Each forced weighing is a separate event.
        """
        identity = [str(self.ref), self.artifact_id, self.alias, self.gate]
        if self.force:
            identity.append(self.noticed_at.isoformat())
        return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]


class WeighingId(BaseModel):
    """One version under one gate: every source of an event leads to the same weighing.

    The printed form is ``gate/entity/project/collection:vN``.
    """

    model_config = ConfigDict(frozen=True)

    gate: str
    collection: str
    number: int = Field(ge=0)

    @classmethod
    def of(cls, gate: str, version: ArtifactRef) -> Self:
        """The weighing of a version under a gate.

        Raises:
            InternalError: The version is named by an alias, which may move.
        """
        if version.number is None:
            raise InternalError(f"{version} must be resolved to its number before it is weighed.")
        return cls(gate=gate, collection=version.collection_path, number=version.number)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the printed form."""
        gate, _, path = text.partition("/")
        return cls.of(gate, ArtifactRef.parse(path))

    @property
    def version(self) -> ArtifactRef:
        """The version that is weighed."""
        return ArtifactRef.parse(f"{self.collection}:v{self.number}")

    def __str__(self) -> str:
        return f"{self.gate}/{self.collection}:v{self.number}"
