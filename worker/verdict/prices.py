"""Prices of models, from the project's cost table in Weave."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from weave.trace.weave_client import WeaveClient

from application.trace_call import trace_call
from schemas.usage import ModelUsage

_LIMIT = 1000  # prices; a model has one for each date on which it changed


class Price(NamedTuple):
    """The price of a model, in US dollars per token."""

    prompt: float
    completion: float

    def of(self, usage: ModelUsage) -> float:
        """What the tokens of some requests cost."""
        return self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens


def read_prices(client: WeaveClient, names: Iterable[str]) -> dict[str, Price]:
    """Read the prices of some models that are in force now.

    Args:
        names: Names of the models in the cost table, as in ``client.add_cost(NAME, ...)``.

    Returns:
        The prices by name. A model without a price, or with one of 0, is left out.

    Raises:
        ConfigurationError: The key may not read them.
        PlatformError: The trace server does not answer.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    with trace_call("read the prices of models"):
        found = client.query_costs(llm_ids=wanted, limit=_LIMIT)
    now = datetime.now(UTC)
    prices = {}
    for name in wanted:
        of_model = [one for one in found if one.llm_id == name and _effective_date(one) <= now]
        if of_model:
            latest = max(of_model, key=_effective_date)
            price = Price(latest.prompt_token_cost or 0.0, latest.completion_token_cost or 0.0)
            if any(price):
                prices[name] = price
    return prices


def _effective_date(cost: Any) -> datetime:
    date: datetime = cost.effective_date or datetime.min
    return date if date.tzinfo else date.replace(tzinfo=UTC)
