"""The version cache: versions are completed once, kept while in use, and trimmed."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.file_rules import ListedFile
from engine.options import ignore_progress
from worker.artifacts.version_cache import VersionCache

_SIZE = 100  # bytes of each version
_FILES = [ListedFile(path="sub/weights", size=_SIZE)]
_TIMEOUT = 60.0  # seconds; a hang must not hold the whole suite

Fetch = Callable[[Path], None]


def _fetch(folder: Path) -> None:
    file = folder / "sub" / "weights"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(_SIZE))


def _fail(folder: Path) -> None:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "weights").write_bytes(bytes(_SIZE // 2))
    raise ConnectionError


def _unexpected(_: Path) -> None:
    raise AssertionError("the version is cached already")


def _use(cache: VersionCache, digest: str, fetch: Fetch = _fetch) -> Path:
    with cache.use(digest, _FILES, fetch, ignore_progress) as folder:
        return folder


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


@pytest.fixture
def cache(tmp_path: Path) -> VersionCache:
    """With room for two versions."""
    return VersionCache(tmp_path, max_bytes=2 * _SIZE)


def test_a_cached_version_is_not_fetched_again(cache: VersionCache, tmp_path: Path) -> None:
    assert _use(cache, "one") == tmp_path / "one"
    assert _use(cache, "one", _unexpected) == tmp_path / "one"


def test_an_incomplete_version_is_resumed(cache: VersionCache, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        _use(cache, "one", _fail)
    assert _folders(tmp_path) == ["one.partial"]

    def resume(folder: Path) -> None:
        with (folder / "sub" / "weights").open("ab") as file:
            file.write(bytes(_SIZE // 2))

    _use(cache, "one", resume)
    assert _folders(tmp_path) == ["one"]


def test_one_of_several_users_fetches_and_the_others_report_that_they_wait(
    cache: VersionCache, tmp_path: Path
) -> None:
    fetched, waiting, messages = [], threading.Semaphore(0), []

    def slowly(folder: Path) -> None:
        fetched.append(folder)
        for _ in range(3):
            assert waiting.acquire(timeout=_TIMEOUT)
        _fetch(folder)

    def report(line: str) -> None:
        messages.append(line)
        waiting.release()

    def use(_: int) -> Path:
        with cache.use("one", _FILES, slowly, report) as folder:
            return folder

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(use, range(4))) == {tmp_path / "one"}
    assert fetched == [tmp_path / "one.partial"]
    assert set(messages) == {"waiting for another process that downloads this version"}


def test_a_damaged_version_is_completed_again(cache: VersionCache, tmp_path: Path) -> None:
    damaged = _use(cache, "one") / "sub" / "weights"
    damaged.write_bytes(b"cut")
    _use(cache, "one")
    assert damaged.stat().st_size == _SIZE
    damaged.unlink()
    _use(cache, "one")
    assert damaged.stat().st_size == _SIZE
    assert _folders(tmp_path) == ["one"]


def test_the_least_recently_used_version_is_removed(cache: VersionCache, tmp_path: Path) -> None:
    for digest in ("one", "two", "one", "three"):
        _use(cache, digest)
    assert _folders(tmp_path) == ["one", "three"]


def test_an_abandoned_download_is_removed_like_a_version(
    cache: VersionCache, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError):
        _use(cache, "one", _fail)
    _use(cache, "two")
    assert _folders(tmp_path) == ["one.partial", "two"]
    _use(cache, "three")
    assert _folders(tmp_path) == ["three", "two"]


def test_a_version_in_use_is_not_removed(cache: VersionCache, tmp_path: Path) -> None:
    with cache.use("one", _FILES, _fetch, ignore_progress) as held:
        for digest in ("two", "three", "four"):
            _use(cache, digest)
        assert (held / "sub" / "weights").stat().st_size == _SIZE
        assert _folders(tmp_path) == ["four", "one"]
    _use(cache, "five")
    assert _folders(tmp_path) == ["five", "one"]  # used until a moment ago


def test_a_version_larger_than_the_cache_is_kept_alone(tmp_path: Path) -> None:
    cache = VersionCache(tmp_path, max_bytes=_SIZE // 2)
    for digest in ("one", "two"):
        _use(cache, digest)
    assert _folders(tmp_path) == ["two"]


def test_several_users_can_use_a_version_at_once(cache: VersionCache) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(cache.use("one", _FILES, _fetch, ignore_progress))
