"""A W&B server on this machine for the real wandb and weave SDKs; see README.md."""

from local_wandb.config import LocalWandbConfig, Webhook
from local_wandb.process import LocalWandb, LocalWandbError

__all__ = ["LocalWandb", "LocalWandbConfig", "LocalWandbError", "Webhook"]
