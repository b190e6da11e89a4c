"""docs/configuration.md says what the settings and the keys of a gate are."""

import json
import re
from pathlib import Path

import pytest
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

from schemas.applications import Application, Columns, ModelEndpoint
from schemas.settings import Settings
from worker.publishing.columns import COMMON

_PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
_NONE = "none"  # how the page says that there is no default
_OURS = re.compile(r"WEIGHBRIDGE_[A-Z_]+")
_CHOSEN = "WEIGHBRIDGE_MODEL_"  # begins the variables that a gate's author names


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
    for variables, defaults, _ in _table("variable", "default", "meaning"):
        names, values = (re.findall(r"`([^`]+)`", cell) for cell in (variables, defaults))
        found |= zip(names, values or [defaults] * len(names), strict=True)
    return found


def _table(*head: str) -> list[list[str]]:
    """The cells of the rows below such a head."""
    page = _PAGE.read_text().split(f"| {' | '.join(head)} |\n")
    assert len(page) == 2, f"one table has the head {head}"
    rows = page[1].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("variable", _EXPECTED)
def test_every_setting_is_documented_with_its_default(
    documented: dict[str, str], variable: str
) -> None:
    assert documented[variable] == _EXPECTED[variable]


def test_no_variable_is_documented_that_nothing_reads() -> None:
    named = set(_OURS.findall(_PAGE.read_text()))
    assert {one for one in named if not one.startswith(_CHOSEN)} <= _EXPECTED.keys()


def _keys(schema: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """The default of each key, as the page shows it."""
    found = {}
    for name, field in schema.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "required" if field.is_required() else f"`{_default(field)}`"
        found[f"`{prefix}{field.alias or name}`"] = (
            shown if default not in (None, (), {}) else _NONE
        )
    return found


def test_every_key_of_an_application_is_documented_with_its_default() -> None:
    documented = {key: default for key, default, _ in _table("key", "default", "meaning")}
    assert documented == _keys(Application) | _keys(ModelEndpoint, "models.NAME.")


def test_every_key_of_the_columns_is_documented_with_the_names_that_are_tried() -> None:
    documented = {
        key: names for key, _, names in _table("key", "what it names", "tried without it")
    }
    assert documented == {
        f"`columns.{key}`": ", ".join(f"`{name}`" for name in getattr(COMMON, key))
        for key in Columns.model_fields
    }
