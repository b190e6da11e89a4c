"""The outcome as a tag: on the run, and on the version in the Registry.

Of our own tags there is one at a time, on a version one for each gate; everybody else's stay.
"""

from collections.abc import Iterable
from typing import get_args

import wandb
from wandb.apis.public import Run as FinishedRun

from registry.calls import wandb_call
from registry.tags import TAGGED, verdict_tag, verdict_tags
from schemas.events import WeighingId
from schemas.verdicts import Outcome

# What SDK 0.31 sends when it saves an artifact, less everything but the tags: it would write
# description and metadata as it read them, over what somebody else wrote since.
_CHANGE_TAGS = """
mutation ChangeTags($input: UpdateArtifactInput!) {
  updateArtifact(input: $input) { artifact { id } }
}
"""


def _tag(outcome: Outcome) -> str:
    return f"weighbridge-{outcome.replace(' ', '-')}"


_OURS = frozenset(_tag(outcome) for outcome in get_args(Outcome))


def tag_run(run: wandb.Run | FinishedRun, outcome: Outcome) -> None:
    """Tag the run with its outcome.

    Args:
        run: the weighing's run, or the same one read by `wandb.Api` after it has ended.
        outcome: of the weighing.

    Raises:
        ConfigurationError: the run is not ours.
        PlatformError: W&B did not answer.
    """
    others = [tag for tag in run.tags or () if tag not in _OURS]
    run.tags = [*others, _tag(outcome)]  # type: ignore[union-attr]
    if isinstance(run, FinishedRun):
        with wandb_call(f"tag run {'/'.join(run.path)}"):
            run.update()


def tag_version(api: wandb.Api, weighing: WeighingId, outcome: Outcome) -> None:
    """Tag the version in the Registry as promoted or rejected; any other outcome takes that away.

    The tag names the gate, and is how a poller knows what an emptied Redis does not. W&B keeps tags
    with the version that was logged, so each collection that it is linked to shows them.

    Args:
        weighing: of the version.
        outcome: of the weighing.

    Raises:
        ConfigurationError: there is no such version, or this key may not change it.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"tag version {weighing.version}"):
        artifact = api.artifact(str(weighing.version))
        wanted = {verdict_tag(weighing.gate, outcome)} if outcome in TAGGED else set()
        held = verdict_tags(weighing.gate) & set(artifact.tags)
        if held != wanted:
            changes = {
                "artifactID": artifact.id,
                "tagsToAdd": _named(wanted - held),
                "tagsToDelete": _named(held - wanted),
            }
            api._service_api.execute_graphql(_CHANGE_TAGS, {"input": changes})


def _named(tags: Iterable[str]) -> list[dict[str, str]]:
    return [{"tagName": tag} for tag in tags]
