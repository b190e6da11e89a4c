"""Sends webhooks when versions change, as W&B's automations do."""

from local_wandb.automations.events import ALIASED, LINKED, VersionEvent
from local_wandb.automations.firing import Automations

__all__ = ["ALIASED", "LINKED", "Automations", "VersionEvent"]
