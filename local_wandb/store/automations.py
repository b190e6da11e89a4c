"""Webhook integrations and the automations that send to them."""

from local_wandb.config import Webhook
from local_wandb.store.rows import Automation
from local_wandb.store.store import Store


def save_integration(store: Store, webhook: Webhook) -> int:
    """Store the configured webhook as an integration, so that automations can refer to it.

    Its token and its secret stay in the configuration. An integration with the same name gets the
    new URL.

    Returns:
        The primary key of the integration.
    """
    url = str(webhook.url)
    with store.database.write():
        found = store.integrations.find(name=webhook.name)
        if found is None:
            return store.integrations.add(name=webhook.name, url_endpoint=url).id
        return store.integrations.change(found.id, url_endpoint=url).id


def delete_automation(store: Store, automation: Automation) -> None:
    """Delete an automation."""
    with store.database.write() as connection:
        connection.execute("DELETE FROM automation WHERE id = ?", (automation.id,))
