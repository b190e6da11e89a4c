"""The connection to Redis that the ledger uses; Celery keeps its own."""

import redis

# Seconds; a Redis that is away must be noticed, not waited for.
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 10.0


def connect(broker_url: str) -> redis.Redis:
    """A client for the Redis at the broker's URL. Nothing is sent yet."""
    return redis.Redis.from_url(
        broker_url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_timeout=ANSWER_TIMEOUT,
        health_check_interval=15,
    )
