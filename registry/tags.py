"""The tag that a verdict leaves on a version: written by workers, read by the poller."""

from schemas.verdicts import Outcome

TAGGED: tuple[Outcome, ...] = ("promoted", "rejected")


def verdict_tag(gate: str, outcome: Outcome) -> str:
    """The tag for an outcome under a gate.

    W&B takes letters, digits, hyphens, underscores, and spaces between them (wandb 0.31,
    `validate_tags`). A gate's name may hold dots but no spaces, so no two gates share a tag.
    """
    return f"weighbridge-{gate.replace('.', ' ')}-{outcome}"


def verdict_tags(gate: str) -> frozenset[str]:
    """The tags of which a version that was weighed under a gate has one."""
    return frozenset(verdict_tag(gate, outcome) for outcome in TAGGED)
