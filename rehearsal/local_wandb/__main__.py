"""`python -m rehearsal.local_wandb --data-dir D --port P`."""

from rehearsal.local_wandb.command import local_wandb

local_wandb()
