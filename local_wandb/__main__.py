"""Start a server: ``python -m local_wandb --data-dir D --port P``."""

from local_wandb.command import local_wandb

local_wandb()
