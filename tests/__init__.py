"""What is set before anything else is imported, because some of it is read at import."""

import atexit
import os
import signal
import tempfile

# Processes that are killed leave temporary folders behind; pytest's own stay where they are.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
_scratch = tempfile.TemporaryDirectory(prefix="wb-tests-", ignore_cleanup_errors=True)
atexit.register(_scratch.cleanup)
os.environ["TMPDIR"] = tempfile.tempdir = _scratch.name

# What was started in the background ignores ctrl-C, and so would all that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing may leave this machine.
os.environ["WANDB_ERROR_REPORTING"] = "false"

# wandb.init would start a Weave client that nobody ends; a later one waits minutes for it.
os.environ["WANDB_DISABLE_WEAVE"] = "true"

# Whoever runs the tests may have settings of their own.
for name in list(os.environ):
    if name.startswith(("CELERY_", "WEIGHBRIDGE_")):
        del os.environ[name]
