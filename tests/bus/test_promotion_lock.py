import threading

import pytest
import redis

from bus.promotion_lock import promotion_lock
from rehearsal.redis_server import free_port
from schemas.errors import PlatformError
from schemas.settings import Settings

_TARGET = "wandb32/wandb-registry-RAG Models/RAG Model"
_SHORT = 2.0  # seconds; a process on a busy machine may not run for one


@pytest.fixture
def short(settings: Settings, client: redis.Redis) -> Settings:
    """Settings with a short lease, so that a dead holder's lock expires soon."""
    return settings.model_copy(update={"lease": _SHORT})


def _ignore(_message: str) -> None:
    """Do nothing while waiting."""


def _heartbeats() -> int:
    return sum(thread.name == "promotion lock" for thread in threading.enumerate())


def _die(client: redis.Redis) -> None:
    """Leave the lock as a killed holder leaves it."""
    (key,) = client.keys("weighbridge:turn:*")
    client.set(key, "the dead", px=int(1000 * _SHORT))


def test_promotions_into_one_collection_run_one_after_the_other(short: Settings) -> None:
    inside: list[str] = []
    is_waiting = threading.Event()

    def second() -> None:
        with promotion_lock(short, _TARGET, lambda _message: is_waiting.set()):
            inside.append("second")

    with promotion_lock(short, _TARGET, _ignore) as first:
        waiting = threading.Thread(target=second)
        waiting.start()
        assert is_waiting.wait(10)
        first.check()
        inside.append("first")
    waiting.join()
    assert inside == ["first", "second"]


def test_promotions_into_different_collections_do_not_wait(short: Settings) -> None:
    with (
        promotion_lock(short, _TARGET, _ignore) as one,
        promotion_lock(short, f"{_TARGET} 2", _ignore) as other,
    ):
        one.check()
        other.check()


def test_a_lock_outlives_its_lease_while_it_is_renewed(short: Settings) -> None:
    with promotion_lock(short, _TARGET, _ignore) as held:
        threading.Event().wait(1.5 * _SHORT)  # the time that passes is what is tested
        held.check()


def test_the_lock_of_a_dead_holder_expires(short: Settings, client: redis.Redis) -> None:
    with promotion_lock(short, _TARGET, _ignore) as held:
        _die(client)
        with promotion_lock(short, _TARGET, _ignore) as next_one:
            next_one.check()
        with pytest.raises(PlatformError, match="was lost"):
            held.check()


def test_a_timeout_is_a_platform_error(short: Settings, client: redis.Redis) -> None:
    with (
        promotion_lock(short, _TARGET, _ignore),
        pytest.raises(PlatformError, match=f"after 0 s waiting .* into {_TARGET}"),
        promotion_lock(short, _TARGET, _ignore, timeout=0.1),
    ):
        pass


def test_the_callback_can_end_the_waiting(short: Settings) -> None:
    def stop(_message: str) -> None:
        raise PlatformError("stop")

    with (
        promotion_lock(short, _TARGET, _ignore),
        pytest.raises(PlatformError, match="stop"),
        promotion_lock(short, _TARGET, stop),
    ):
        pass


def test_without_redis_the_lock_cannot_be_acquired(settings: Settings) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with (
        pytest.raises(PlatformError, match="Redis could not lock promotions"),
        promotion_lock(settings.model_copy(update={"broker_url": nowhere}), _TARGET, _ignore),
    ):
        pass


def test_a_released_lock_leaves_nothing_behind(short: Settings, client: redis.Redis) -> None:
    with promotion_lock(short, _TARGET, _ignore):
        assert client.keys("*")
        assert _heartbeats() == 1
    assert client.keys("*") == []
    assert _heartbeats() == 0
