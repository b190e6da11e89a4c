"""Prices of models, and the costs of the calls that used them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import BaseModel

from local_wandb.store.database import Database
from local_wandb.store.traces.records import Record, RecordStore
from local_wandb.store.traces.requests import new_id
from local_wandb.store.traces.timestamps import now, timestamp

#: Kinds of tokens: the prefix of their price's name, and their names in a call's usage
#: (OpenAI's and Anthropic's).
_TOKENS = {
    "prompt": ("prompt_tokens", "input_tokens"),
    "completion": ("completion_tokens", "output_tokens"),
    "cache_read_input": ("cache_read_input_tokens",),
    "cache_creation_input": ("cache_creation_input_tokens",),
}


class Price(BaseModel):
    """The price of a model's tokens from a date on."""

    prompt_token_cost: float
    completion_token_cost: float
    cache_read_input_token_cost: float = 0.0
    cache_creation_input_token_cost: float = 0.0
    prompt_token_cost_unit: str | None = None
    completion_token_cost_unit: str | None = None
    effective_date: datetime | None = None
    provider_id: str | None = None

    def record(self, llm_id: str) -> Record:
        """Return the price as it is stored.

        Args:
            llm_id: The name of the model.
        """
        since = timestamp(self.effective_date) if self.effective_date else now()
        return {**self.model_dump(), "effective_date": since, "id": new_id(), "llm_id": llm_id}


def cost_store(database: Database) -> RecordStore:
    """Return the prices of a database."""
    return RecordStore(database, "weave_costs", frozenset({"effective_date"}))


def bill(
    prices: Sequence[Record], usage: Mapping[str, Mapping[str, Any]], started_at: str
) -> dict[str, Record]:
    """Return the costs of a call: its ``summary.weave.costs``.

    Args:
        prices: The prices of the project.
        usage: The call's ``summary.usage``: tokens by model.
        started_at: The start of the call. The latest price in force at that time applies, or the
            latest of all if none was in force, as on W&B.

    Returns:
        Tokens, prices and totals of each model that has a price.
    """
    bills = {}
    for llm_id, used in usage.items():
        known = [price for price in prices if price["llm_id"] == llm_id]
        if known:
            bills[llm_id] = _bill(max(known, key=partial(_precedence, started_at)), used)
    return bills


def _precedence(started_at: str, price: Record) -> tuple[bool, str]:
    return price["effective_date"] <= started_at, price["effective_date"]


def _bill(price: Record, used: Mapping[str, Any]) -> Record:
    total = {**price, "requests": used.get("requests"), "total_tokens": used.get("total_tokens")}
    for kind, names in _TOKENS.items():
        counts = [used.get(name) for name in names]
        tokens = sum(count for count in counts if isinstance(count, int))
        total[f"{kind}_tokens"] = tokens
        total[f"{kind}_tokens_total_cost"] = tokens * price[f"{kind}_token_cost"]
    return total
