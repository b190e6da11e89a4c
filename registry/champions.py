"""Who holds a gate's aliases now, and what a gate has promoted before."""

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
"""The name of the entry that refers to the RagModel, as the tutorial has it."""

_TYPE = "model"  # the type under which the tutorial logs it
# What W&B's SDK says is not found (docs/upstream/wandb-protocol.md, "Error messages").
_NO_VERSION = "artifact membership"


class PromotedVersion(BaseModel):
    """A version in a gate's target collection.

    Attributes:
        ref: the version by its number.
        rag_model: the RagModel version that it refers to, by digest; None if it is something else.
        record: why it was promoted; None if no gate did it.
    """

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    rag_model: WeaveRef | None
    record: PromotionRecord | None

    def is_of(self, gate: Gate, chat_model: ArtifactRef) -> bool:
        """Whether the gate promoted this model version here."""
        record = self.record
        return record is not None and (record.gate, record.chat_model) == (gate.name, chat_model)


def current_champion(api: wandb.Api, gate: Gate) -> PromotedVersion | None:
    """The version that holds the gate's first alias now; None if nobody does.

    Raises:
        ConfigurationError: there is no such registry.
        PlatformError: W&B did not answer.
    """
    return _version(api, gate.champion_ref) if gate.champion_ref else None


def promoted_by(api: wandb.Api, gate: Gate) -> list[PromotedVersion]:
    """What the gate has promoted, the latest promotion first.

    Raises:
        ConfigurationError: there is no such collection.
        PlatformError: W&B did not answer.
    """
    target = gate.promote.to
    with wandb_call(f"list the versions in {target}"):
        ours = [one for one in _recorded(api, target) if one[0].gate == gate.name]
        latest_first = sorted(ours, key=lambda one: one[0].promoted_at, reverse=True)
        return [_promoted(target, artifact) for _, artifact in latest_first]


def displaced(
    api: wandb.Api, weighing: WeighingRecord, current: PromotedVersion | None
) -> PromotedVersion | None:
    """What an attempt at a weighing has promoted, if another version was promoted over it since.

    A worker that is killed between a promotion and its verdict can leave this behind.

    Args:
        current: who holds the gate's alias; while nobody does, or the version itself, no request
            is needed.

    Raises:
        ConfigurationError: there is no such collection.
        PlatformError: W&B did not answer.
    """
    gate = weighing.gate
    if current is None or current.is_of(gate, weighing.id.version):
        return None
    target = gate.promote.to
    with wandb_call(f"list the versions in {target}"):
        recorded = _recorded(api, target)
        for record, artifact in recorded:
            if record.belongs_to(weighing):
                ours = _promoted(target, artifact)
                later = [one for one, _ in recorded if one.promoted_at > record.promoted_at]
                return ours if ours.ref in {one.champion for one in later} else None
    return None


def champion_to_beat(api: wandb.Api, weighing: WeighingRecord) -> PromotedVersion | None:
    """Whom a weighing compares its version with: the champion; None if there is none.

    For a version that was promoted and displaced before its worker could tell it is the champion
    of that time, so that the verdict is the same.

    Raises:
        ConfigurationError: there is no such registry.
        PlatformError: W&B did not answer.
    """
    current = current_champion(api, weighing.gate)
    done = displaced(api, weighing, current)
    if done is None or done.record is None:
        return current
    return _version(api, done.record.champion) if done.record.champion else None


def find(api: wandb.Api, ref: ArtifactRef) -> wandb.Artifact | None:
    """A version; None if its collection has none by that number or alias.

    The SDK's own `artifact_exists` says that of a version which may not be read, too: a gate
    would then believe that it has no champion.
    """
    try:
        found: wandb.Artifact = api.artifact(str(ref))
    except CommError as error:
        if str(error).startswith(_NO_VERSION):
            return None
        raise
    return found


def _version(api: wandb.Api, ref: ArtifactRef) -> PromotedVersion | None:
    with wandb_call(f"look for the champion {ref}"):
        artifact = find(api, ref)
        return _promoted(ref, artifact) if artifact else None


def _recorded(api: wandb.Api, target: CollectionRef) -> list[tuple[PromotionRecord, Any]]:
    """What gates have promoted into a collection, each with why."""
    collection = api.artifact_collection(_TYPE, target.collection_path)
    return [
        (record, artifact)
        for artifact in collection.artifacts()
        if (record := _record(artifact)) is not None
    ]


def _promoted(ref: CollectionRef, artifact: Any) -> PromotedVersion:
    entry = artifact.manifest.entries.get(REFERENCE)
    rag_model = WeaveRef.parse(entry.ref) if entry and entry.ref else None
    return PromotedVersion(
        ref=ref.at(artifact.version), rag_model=rag_model, record=_record(artifact)
    )


def _record(artifact: Any) -> PromotionRecord | None:
    return PromotionRecord.from_metadata(dict(artifact.metadata or {}))
