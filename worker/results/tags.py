"""The outcome as a tag: on the run, and on the version in the Registry.

Of our own tags there is one at a time; everybody else's stay.
"""

from collections.abc import Iterable
from typing import get_args

import wandb
from wandb.apis.public import Run as FinishedRun

from registry.calls import wandb_call
from schemas.refs import ArtifactRef
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
_ON_VERSIONS: tuple[Outcome, ...] = ("promoted", "rejected")


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


def tag_version(api: wandb.Api, version: ArtifactRef, outcome: Outcome) -> None:
    """Tag the version in the Registry as promoted or rejected; any other outcome takes that away.

    W&B keeps tags with the version that was logged, so each collection that it is linked to shows
    them.

    Args:
        version: the version that was weighed.
        outcome: of the weighing.

    Raises:
        ConfigurationError: there is no such version, or this key may not change it.
        PlatformError: W&B did not answer.
    """
    with wandb_call(f"tag version {version}"):
        artifact = api.artifact(str(version))
        wanted = {_tag(outcome)} if outcome in _ON_VERSIONS else set()
        held = _OURS & set(artifact.tags)
        if held != wanted:
            changes = {
                "artifactID": artifact.id,
                "tagsToAdd": _named(wanted - held),
                "tagsToDelete": _named(held - wanted),
            }
            api._service_api.execute_graphql(_CHANGE_TAGS, {"input": changes})


def _named(tags: Iterable[str]) -> list[dict[str, str]]:
    return [{"tagName": tag} for tag in tags]
