"""The outcome as a tag, on the run and on the version in the Registry.

A run has one tag of ours at a time, a version one per gate. Tags of others are kept.
"""

from collections.abc import Iterable
from typing import get_args

import wandb

from registry.calls import wandb_call
from registry.tags import TAGGED, verdict_tag, verdict_tags
from schemas.events import WeighingId
from schemas.verdicts import Outcome

# The mutation with which SDK 0.31 saves an artifact, reduced to the tags. The SDK would also write
# back the description and metadata that it read, and so overwrite concurrent changes.
_CHANGE_TAGS = """
mutation ChangeTags($input: UpdateArtifactInput!) {
  updateArtifact(input: $input) { artifact { id } }
}
"""


def _tag(outcome: Outcome) -> str:
    return f"weighbridge-{outcome.replace(' ', '-')}"


_OURS = frozenset(_tag(outcome) for outcome in get_args(Outcome))


def tag_run(run: wandb.Run, outcome: Outcome) -> None:
    """Tag the weighing's run with its outcome."""
    others = [tag for tag in run.tags or () if tag not in _OURS]
    run.tags = (*others, _tag(outcome))


def tag_version(api: wandb.Api, weighing: WeighingId, outcome: Outcome) -> None:
    """Tag the version in the Registry as promoted or rejected; any other outcome removes the tag.

    The tag names the gate. After Redis has lost its data, the poller reads verdicts from these
    tags. W&B stores tags on the version that was logged, so every collection that links it shows
    them.

    Raises:
        ConfigurationError: There is no such version, or this key may not change it.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"tag version {weighing.version}"):
        artifact = api.artifact(str(weighing.version))
        wanted = {verdict_tag(weighing.gate, outcome)} if outcome in TAGGED else set()
        present = verdict_tags(weighing.gate) & set(artifact.tags)
        if present != wanted:
            changes = {
                "artifactID": artifact.id,
                "tagsToAdd": _tag_inputs(wanted - present),
                "tagsToDelete": _tag_inputs(present - wanted),
            }
            api._service_api.execute_graphql(_CHANGE_TAGS, {"input": changes})


def _tag_inputs(tags: Iterable[str]) -> list[dict[str, str]]:
    return [{"tagName": tag} for tag in tags]
