import pytest
from hypothesis import given
from hypothesis import strategies as st
from wandb.sdk.artifacts._validators import validate_tags

from registry.tags import verdict_tag, verdict_tags

_GATE_NAMES = st.from_regex(r"\A[A-Za-z0-9][\w.-]{0,63}\Z")


@given(_GATE_NAMES)
def test_wandb_accepts_the_tags_of_any_gate(gate: str) -> None:
    tags = sorted(verdict_tags(gate))
    assert validate_tags(tags) == tags


@given(_GATE_NAMES, _GATE_NAMES)
def test_two_gates_have_different_tags(one: str, other: str) -> None:
    assert one == other or not verdict_tags(one) & verdict_tags(other)


@pytest.mark.parametrize(
    ("gate", "tag"),
    [
        ("climate-rag", "weighbridge-climate-rag-promoted"),
        ("rag.v2", "weighbridge-rag v2-promoted"),
    ],
)
def test_a_tag_can_be_read(gate: str, tag: str) -> None:
    assert verdict_tag(gate, "promoted") == tag
