"""The verdict tag of a version: written by workers, read by the poller."""

from schemas.verdicts import Outcome

TAGGED: tuple[Outcome, ...] = ("promoted", "rejected")


def verdict_tag(gate: str, outcome: Outcome) -> str:
    """Return the tag for an outcome under a gate.

    W&B allows letters, digits, hyphens, underscores, and spaces between them (wandb 0.31,
    `validate_tags`). A gate's name may hold dots but no spaces, so no two gates share a tag.
    """
    return f"weighbridge-{gate.replace('.', ' ')}-{outcome}"


def verdict_tags(gate: str) -> frozenset[str]:
    """Return the tags of a gate; a version with a verdict has one of them."""
    return frozenset(verdict_tag(gate, outcome) for outcome in TAGGED)
