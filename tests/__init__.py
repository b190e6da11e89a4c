"""Set before any SDK is imported, because they read it then: nothing may leave this machine."""

import os

os.environ["WANDB_ERROR_REPORTING"] = "false"
