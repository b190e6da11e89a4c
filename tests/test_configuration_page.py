"""docs/configuration.md says what schemas/settings.py does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from schemas.settings import Settings

_PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
_NONE = "none"  # how the page says that there is no default
_OURS = re.compile(r"WEIGHBRIDGE_[A-Z_]+")


def _variable(name: str, field: FieldInfo) -> str:
    """The environment variable that sets a field."""
    prefix = Settings.model_config["env_prefix"]
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):  # the others are old names
        alias = alias.choices[0]
    return str(alias or f"{prefix}{name.upper()}")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None:
        return _NONE
    if isinstance(value, frozenset):
        return json.dumps(sorted(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_EXPECTED = {
    _variable(name, field): _default(field) for name, field in Settings.model_fields.items()
}


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """Default by variable, from the table; a row may hold several of each, in the same order."""
    found: dict[str, str] = {}
    for line in _PAGE.read_text().splitlines():
        if line.startswith("| `"):
            variables, defaults = line.split("|")[1:3]
            names, values = (re.findall(r"`([^`]+)`", cell) for cell in (variables, defaults))
            found |= zip(names, values or [defaults.strip()] * len(names), strict=True)
    return found


@pytest.mark.parametrize("variable", _EXPECTED)
def test_every_setting_is_documented_with_its_default(
    documented: dict[str, str], variable: str
) -> None:
    assert documented[variable] == _EXPECTED[variable]


def test_no_variable_is_documented_that_nothing_reads() -> None:
    assert set(_OURS.findall(_PAGE.read_text())) <= _EXPECTED.keys()
