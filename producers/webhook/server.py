"""The process that the receiver runs in."""

import uvicorn
from fastapi import FastAPI

from schemas.settings import Settings

_GRACE = 15  # seconds that requests may still take after SIGTERM


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve an application at the webhook's address until SIGTERM."""
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
