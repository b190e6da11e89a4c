"""Connect to Redis, and translate the broker URL for Celery.

A broker URL is one of

    redis://[user:password@]host:6379/0
    rediss://[user:password@]host:6379/0?ssl_ca_certs=/path/ca.pem
    unix://[user:password@]/path/redis.sock?db=0
    sentinel://[user:password@]host:26379/0;sentinel://host2:26379

The certificate is verified unless the URL contains `ssl_cert_reqs=none`. The password in a Sentinel
URL is for Redis; the Sentinels' own password, if any, is `?sentinel_password=`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

KEY_PREFIX = "weighbridge:"

# Seconds.
CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 10.0

_SENTINEL_PORT = 26379
_TIMEOUTS = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": ANSWER_TIMEOUT}

# A broken connection is retried three times within a second, so that a restart of Redis goes
# unnoticed. A command may therefore run twice; every script is safe to repeat. A timeout is not
# retried.
_RETRY = Retry(ExponentialBackoff(cap=0.5, base=0.1), 3, supported_errors=(redis.ConnectionError,))
_ONCE = Retry(NoBackoff(), 0)  # for a Sentinel: the next one is tried instead


def connect(broker_url: str, master: str = "mymaster") -> redis.Redis:
    """Make a client for the Redis at the broker's URL; it connects on first use.

    Args:
        master: Name of the master, if the URL names Sentinels.
    """
    options: dict[str, Any] = {
        **_TIMEOUTS,
        "decode_responses": True,
        "health_check_interval": 15,
        "retry": _RETRY,
    }
    if not broker_url.startswith("sentinel:"):
        return redis.Redis.from_url(broker_url, **options)
    sentinels = _Sentinels.parse(broker_url)
    options |= sentinels.redis_options
    made_by: Any = Sentinel  # redis-py has no types for it
    manager = made_by(sentinels.addresses, sentinel_kwargs=sentinels.own_options, **options)
    client: redis.Redis = manager.master_for(master)
    return client


def celery_url(broker_url: str) -> str:
    """Convert the URL for Celery's broker and result backend."""
    parts = urlsplit(broker_url)
    query = dict(parse_qsl(parts.query))
    match parts.scheme:
        case "unix":
            options = urlencode({"virtual_host": query.pop("db", "0")} | query)
            return f"redis+socket://{parts.netloc}{parts.path}?{options}"
        case "rediss":  # kombu verifies nothing by default
            options = urlencode({"ssl_cert_reqs": "required"} | query, safe="/")
            return parts._replace(query=options).geturl()
        case "sentinel":
            return _Sentinels.parse(broker_url).celery_url
    return broker_url


def celery_options(broker_url: str, master: str) -> dict[str, Any]:
    """Transport options for Celery's broker and result backend.

    Args:
        master: Name of the master, if the URL names Sentinels.
    """
    options: dict[str, Any] = {"global_keyprefix": KEY_PREFIX}
    if broker_url.startswith("sentinel:"):
        sentinels = _Sentinels.parse(broker_url)
        options |= {"master_name": master, "sentinel_kwargs": sentinels.own_options}
    return options


@dataclass(frozen=True)
class _Sentinels:
    """A parsed Sentinel URL; user and database may be in any of its parts."""

    parts: tuple[SplitResult, ...]

    @classmethod
    def parse(cls, url: str) -> "_Sentinels":
        return cls(tuple(urlsplit(part) for part in url.split(";")))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(part.hostname or "", part.port or _SENTINEL_PORT) for part in self.parts]

    @property
    def own_options(self) -> dict[str, Any]:
        query = {key: value for part in self.parts for key, value in parse_qsl(part.query)}
        return {**_TIMEOUTS, "retry": _ONCE, "password": query.get("sentinel_password")}

    @property
    def redis_options(self) -> dict[str, Any]:
        username, _, password = self._userinfo.partition(":")
        return {
            "username": unquote(username) or None,
            "password": unquote(password) or None,
            "db": int(self._database),
        }

    @property
    def celery_url(self) -> str:
        # Celery reads user and database only from the part that it connects to.
        user = f"{self._userinfo}@" if self._userinfo else ""
        return ";".join(
            f"sentinel://{user}{host}:{port}/{self._database}" for host, port in self.addresses
        )

    @property
    def _userinfo(self) -> str:
        return next((p.netloc.rpartition("@")[0] for p in self.parts if "@" in p.netloc), "")

    @property
    def _database(self) -> str:
        return next((p.path.strip("/") for p in self.parts if p.path.strip("/")), "0")
