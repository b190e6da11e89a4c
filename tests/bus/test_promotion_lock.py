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
    """Of turns that are over soon after their holder has died."""
    return settings.model_copy(update={"lease": _SHORT})


def _silent(_what: str) -> None:
    """Hears nothing."""


def _keepers() -> int:
    return sum(thread.name == "promotion lock" for thread in threading.enumerate())


def _die(client: redis.Redis) -> None:
    """Leave what a worker leaves that is killed in its turn."""
    (key,) = client.keys("weighbridge:turn:*")
    client.set(key, "the dead", px=int(1000 * _SHORT))


def test_two_promotions_into_one_collection_take_turns(short: Settings) -> None:
    inside: list[str] = []
    free = threading.Event()

    def second() -> None:
        with promotion_lock(short, _TARGET, lambda _what: free.set()):
            inside.append("second")

    with promotion_lock(short, _TARGET, _silent) as first:
        waiting = threading.Thread(target=second)
        waiting.start()
        assert free.wait(10)  # it has said that it waits
        first.check()
        inside.append("first")
    waiting.join()
    assert inside == ["first", "second"]


def test_promotions_into_different_collections_do_not_wait(short: Settings) -> None:
    with (
        promotion_lock(short, _TARGET, _silent) as one,
        promotion_lock(short, f"{_TARGET} 2", _silent) as other,
    ):
        one.check()
        other.check()


def test_a_turn_outlives_its_term_while_it_is_kept(short: Settings) -> None:
    with promotion_lock(short, _TARGET, _silent) as held:
        threading.Event().wait(1.5 * _SHORT)  # the time that passes is what is tested
        held.check()


def test_the_turn_of_a_dead_holder_ends_by_itself(short: Settings, client: redis.Redis) -> None:
    with promotion_lock(short, _TARGET, _silent) as held:
        _die(client)
        with promotion_lock(short, _TARGET, _silent) as next_one:
            next_one.check()
        with pytest.raises(PlatformError, match="was lost"):
            held.check()


def test_a_turn_that_does_not_come_is_worth_another_try(
    short: Settings, client: redis.Redis
) -> None:
    with (
        promotion_lock(short, _TARGET, _silent),
        pytest.raises(PlatformError, match=f"{_TARGET} did not come within 0 s"),
        promotion_lock(short, _TARGET, _silent, patience=0.1),
    ):
        pass


def test_whoever_waits_may_be_told_to_stop(short: Settings) -> None:
    def stop(_what: str) -> None:
        raise PlatformError("stop")

    with (
        promotion_lock(short, _TARGET, _silent),
        pytest.raises(PlatformError, match="stop"),
        promotion_lock(short, _TARGET, stop),
    ):
        pass


def test_without_redis_nobody_has_a_turn(settings: Settings) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with (
        pytest.raises(PlatformError, match="Redis did not give a turn"),
        promotion_lock(settings.model_copy(update={"broker_url": nowhere}), _TARGET, _silent),
    ):
        pass


def test_nothing_is_left_of_a_turn(short: Settings, client: redis.Redis) -> None:
    with promotion_lock(short, _TARGET, _silent):
        assert client.keys("*")
        assert _keepers() == 1
    assert client.keys("*") == []
    assert _keepers() == 0
