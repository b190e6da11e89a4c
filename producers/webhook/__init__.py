"""The webhook receiver: W&B automations post here when a version is linked or gets an alias.

A webhook is a hint that arrives fast; W&B retries nothing, so the poller finds what was missed
(docs/upstream/wandb-webhooks.md, "Delivery"). The receiver never calls W&B: it checks, has the
inbox take the event, and answers.
"""

from producers.webhook.app import webhook_app
from producers.webhook.credentials import Credentials
from producers.webhook.server import serve

__all__ = ["Credentials", "serve", "webhook_app"]
