"""Which aliases a version in W&B can be given."""

import pytest

from registry.aliases import refusal, refusal_of_pattern


@pytest.mark.parametrize("alias", ["production", "v2-candidate", "vNext", "two words", "a.b"])
def test_a_plain_name_can_be_given(alias: str) -> None:
    assert refusal(alias) is None
    assert refusal_of_pattern(alias) is None


@pytest.mark.parametrize(
    ("alias", "reason"),
    [
        ("v3", "the number of a version"),
        ("latest", "moves by itself"),
        ("team/production", "characters / :"),
        ("team:production", "characters / :"),
        ("", "is empty"),
    ],
)
def test_what_cannot_be_given_is_said_with_the_reason(alias: str, reason: str) -> None:
    assert reason in (refusal(alias) or "")


@pytest.mark.parametrize("pattern", ["v*", "candidate*", "*", "[!/]*", "v[0-9]", "latest"])
def test_a_pattern_may_also_match_what_cannot_be_given(pattern: str) -> None:
    assert refusal_of_pattern(pattern) is None


def test_a_pattern_with_a_separator_matches_no_alias() -> None:
    assert "characters / :" in (refusal_of_pattern("team/*") or "")
