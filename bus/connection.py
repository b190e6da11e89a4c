"""The connection to Redis that the ledger uses; Celery keeps its own."""

import redis

from schemas.settings import Settings

_CONNECT_TIMEOUT = 5.0  # seconds; a Redis that is away must be noticed, not waited for


def connect(settings: Settings) -> redis.Redis:
    """A client for the Redis that `CELERY_BROKER_URL` names. Nothing is sent yet."""
    return redis.Redis.from_url(
        settings.broker_url,
        decode_responses=True,
        socket_connect_timeout=_CONNECT_TIMEOUT,
        socket_timeout=2 * _CONNECT_TIMEOUT,
        health_check_interval=15,
    )
