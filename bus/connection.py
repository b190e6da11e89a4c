"""The connection to Redis that the ledger uses; Celery keeps its own."""

import redis

CONNECT_TIMEOUT = 5.0  # seconds; a Redis that is away must be noticed, not waited for


def connect(broker_url: str) -> redis.Redis:
    """A client for the Redis at the broker's URL. Nothing is sent yet."""
    return redis.Redis.from_url(
        broker_url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=2 * CONNECT_TIMEOUT,
        health_check_interval=15,
    )
