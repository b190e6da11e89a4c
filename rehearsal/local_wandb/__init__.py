"""A W&B on this machine, for the real wandb and weave SDKs."""

from rehearsal.local_wandb.config import LocalWandbConfig, Webhook
from rehearsal.local_wandb.process import LocalWandb, LocalWandbError

__all__ = ["LocalWandb", "LocalWandbConfig", "LocalWandbError", "Webhook"]
