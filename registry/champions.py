"""The current champion of a gate, and the versions that it has promoted."""

from typing import Any

import wandb
from pydantic import BaseModel, ConfigDict
from wandb.errors import CommError

from registry.calls import wandb_call
from schemas.gates import Gate
from schemas.promotions import PromotionRecord
from schemas.refs import ArtifactRef, CollectionRef, WeaveRef
from schemas.weighings import WeighingRecord

REFERENCE = "model"
"""Name of the entry that refers to the RagModel, as in the tutorial."""

ARTIFACT_TYPE = "model"
"""Type of the artifacts that promotions link, as in the tutorial."""

# The start of the SDK's message for a missing version (docs/upstream/wandb-protocol.md, "Error
# messages").
_NO_VERSION = "artifact membership"


class PromotedVersion(BaseModel):
    """A version in a gate's target collection.

    Attributes:
        ref: The version, by number.
        rag_model: The RagModel version that it refers to, by digest; None if it has none.
        record: The record of its promotion; None if no gate promoted it.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    rag_model: WeaveRef | None
    record: PromotionRecord | None

    def is_of(self, gate: Gate, chat_model: ArtifactRef) -> bool:
        """Whether the gate promoted this model version as this version."""
        record = self.record
        return record is not None and (record.gate, record.chat_model) == (gate.name, chat_model)


def current_champion(api: wandb.Api, gate: Gate) -> PromotedVersion | None:
    """Return the version that has the gate's first alias now; None if no version has it.

    Raises:
        ConfigurationError: The registry does not exist.
        PlatformError: W&B did not answer.
    """
    return _version(api, gate.champion_ref) if gate.champion_ref else None


def promoted_by(api: wandb.Api, gate: Gate) -> list[PromotedVersion]:
    """Return the versions that the gate has promoted, the latest promotion first.

    Raises:
        ConfigurationError: The collection does not exist.
        PlatformError: W&B did not answer.
    """
    target = gate.promote.to
    with wandb_call(f"list the versions in {target}"):
        ours = [one for one in _recorded(api, target) if one[0].gate == gate.name]
        latest_first = sorted(ours, key=lambda one: one[0].promoted_at, reverse=True)
        return [_listed(target, artifact) for _, artifact in latest_first]


def displaced(
    api: wandb.Api, record: WeighingRecord, current: PromotedVersion | None
) -> PromotedVersion | None:
    """Return the version that an earlier attempt promoted, if another has replaced it since.

    This happens when a worker is killed between a promotion and its verdict.

    Args:
        api: Reads the collection.
        record: The weighing's record.
        current: The current champion. No request is needed if there is none, or if it is the
            weighing's own version.

    Raises:
        ConfigurationError: The collection does not exist.
        PlatformError: W&B did not answer.
    """
    gate = record.gate
    if current is None or current.is_of(gate, record.id.version):
        return None
    target = gate.promote.to
    with wandb_call(f"list the versions in {target}"):
        recorded = _recorded(api, target)
        for promotion, artifact in recorded:
            if promotion.belongs_to(record):
                ours = _listed(target, artifact)
                later = [one for one, _ in recorded if one.promoted_at > promotion.promoted_at]
                return ours if ours.ref in {one.champion for one in later} else None
    return None


def champion_to_beat(api: wandb.Api, record: WeighingRecord) -> PromotedVersion | None:
    """Return the champion to compare a weighing's version with; None if there is none.

    If an earlier attempt promoted the version and another has replaced it since, this is the
    champion of that attempt, so that the verdict is the same.

    Raises:
        ConfigurationError: The registry does not exist.
        PlatformError: W&B did not answer.
    """
    current = current_champion(api, record.gate)
    done = displaced(api, record, current)
    if done is None or done.record is None:
        return current
    return _version(api, done.record.champion) if done.record.champion else None


def find(api: wandb.Api, ref: ArtifactRef) -> wandb.Artifact | None:
    """Return a version; None if its collection has none with that number or alias.

    The SDK's ``artifact_exists`` is also False for a version that may not be read, and then a gate
    would seem to have no champion.
    """
    try:
        found: wandb.Artifact = api.artifact(str(ref))
    except CommError as error:
        if str(error).startswith(_NO_VERSION):
            return None
        raise
    return found


def _version(api: wandb.Api, ref: ArtifactRef) -> PromotedVersion | None:
    with wandb_call(f"find the champion {ref}"):
        artifact = find(api, ref)
        return _promoted(ref.at(artifact.version), artifact) if artifact else None


def _recorded(api: wandb.Api, target: CollectionRef) -> list[tuple[PromotionRecord, Any]]:
    """Return the promoted versions in a collection, each with its record."""
    collection = api.artifact_collection(ARTIFACT_TYPE, target.collection_path)
    return [
        (record, artifact)
        for artifact in collection.artifacts()
        if (record := _record(artifact)) is not None
    ]


def _listed(target: CollectionRef, artifact: Any) -> PromotedVersion:
    # ``version`` of a listed version is its number in the collection that it was logged to
    # (docs/upstream/wandb-protocol.md, "Links, aliases and tags").
    return _promoted(target.at(artifact.name.rpartition(":")[2]), artifact)


def _promoted(ref: ArtifactRef, artifact: Any) -> PromotedVersion:
    entry = artifact.manifest.entries.get(REFERENCE)
    rag_model = WeaveRef.parse(entry.ref) if entry and entry.ref else None
    return PromotedVersion(ref=ref, rag_model=rag_model, record=_record(artifact))


def _record(artifact: Any) -> PromotionRecord | None:
    return PromotionRecord.from_metadata(dict(artifact.metadata or {}))
