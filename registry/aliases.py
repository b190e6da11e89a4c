"""Aliases that W&B does not take, or moves by itself.

Source: docs/upstream/wandb-protocol.md, "Links, aliases and tags".
"""

import re

_SEPARATORS = "/:"
_NUMBER = re.compile(r"v\d+")
_SET = re.compile(r"\[.+?\]")
_WILDCARDS = "*?["


def refusal(alias: str) -> str | None:
    """Say why no version can be given an alias, as the end of a sentence; None if one can."""
    if not alias:
        return "is empty"
    if _NUMBER.fullmatch(alias):
        return "is the number of a version, which W&B assigns by itself"
    if alias == "latest":
        return "moves by itself to each version that is linked"
    if set(_SEPARATORS) & set(alias):
        return f"has one of the characters {' '.join(_SEPARATORS)}, which W&B refuses"
    return None


def refusal_of_pattern(pattern: str) -> str | None:
    """Say why no alias that a version can be given matches a shell pattern; None if one may."""
    if pattern == "latest":
        return None  # each version has it when it is linked
    if not set(_WILDCARDS) & set(pattern):
        return refusal(pattern)
    if set(_SEPARATORS) & set(_SET.sub("", pattern)):
        return refusal(_SEPARATORS)
    return None
