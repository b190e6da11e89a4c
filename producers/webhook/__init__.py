"""The webhook receiver: W&B automations post here when a version is linked or gets an alias.

W&B does not retry a webhook, so the poller finds the versions whose webhooks were lost
(docs/upstream/wandb-webhooks.md, "Delivery"). The receiver never calls W&B: it checks the delivery,
stores the event in the inbox, and responds.
"""

from producers.webhook.app import webhook_app
from producers.webhook.credentials import Credentials
from producers.webhook.server import serve

__all__ = ["Credentials", "serve", "webhook_app"]
