"""What is set before anything else is imported, because some of it is read at import."""

import os

# Nothing may leave this machine.
os.environ["WANDB_ERROR_REPORTING"] = "false"

# Whoever runs the tests may have settings of their own.
for name in list(os.environ):
    if name.startswith(("CELERY_", "WEIGHBRIDGE_")):
        del os.environ[name]
