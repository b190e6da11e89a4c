"""Prices in the project's cost table, on the trace server."""

from datetime import UTC, datetime, timedelta

import pytest
from weave.trace.weave_client import WeaveClient

from schemas.usage import ModelUsage
from worker.verdict.prices import Price, read_prices

_USAGE = ModelUsage(requests=3, prompt_tokens=1000, completion_tokens=10, total_tokens=1010)


def test_a_price_is_read_by_the_models_name(weave_project: WeaveClient) -> None:
    weave_project.add_cost("a judge", 2e-6, 1e-5)
    weave_project.add_cost("another", 1.0, 1.0)
    prices = read_prices(weave_project, ["a judge", "without a price"])
    assert prices == {"a judge": Price(2e-6, 1e-5)}
    assert prices["a judge"].of(_USAGE) == pytest.approx(1000 * 2e-6 + 10 * 1e-5)


def test_the_price_in_force_counts(weave_project: WeaveClient) -> None:
    now = datetime.now(UTC)
    for days, price in ((-30, 1.0), (-1, 2.0), (30, 3.0)):
        weave_project.add_cost("a judge", price, price, effective_date=now + timedelta(days=days))
    assert read_prices(weave_project, ["a judge"]) == {"a judge": Price(2.0, 2.0)}


def test_a_price_of_0_is_none(weave_project: WeaveClient) -> None:
    weave_project.add_cost("a judge", 0.0, 0.0)
    assert read_prices(weave_project, ["a judge"]) == {}


def test_without_models_there_are_no_prices(weave_project: WeaveClient) -> None:
    weave_project.add_cost("a judge", 1.0, 1.0)
    assert read_prices(weave_project, []) == {}
