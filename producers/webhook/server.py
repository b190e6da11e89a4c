"""Serve the receiver."""

import uvicorn
from fastapi import FastAPI

from schemas.settings import Settings

_SHUTDOWN_TIMEOUT = 15  # seconds that requests may take after SIGTERM


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve an application at the webhook's address until SIGTERM."""
    uvicorn.run(
        app,
        host=settings.webhook_host,
        port=settings.webhook_port,
        log_level="warning",
        access_log=False,  # /metrics counts the requests
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
    )
