"""The process that the receiver runs in."""

import gc

import uvicorn
from fastapi import FastAPI

from schemas.settings import Settings

_GRACE = 15  # seconds that requests may still take after SIGTERM

# Objects made before the collector looks again. A delivery leaves no cycles, and with Python's own
# 700 the collector takes half of a busy receiver's time.
_GARBAGE = 50_000


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve an application at the webhook's address until SIGTERM."""
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    uvicorn.run(
        app,
        host=settings.webhook_host,
        port=settings.webhook_port,
        log_level="warning",
        access_log=False,  # /metrics counts them
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE,
    )
