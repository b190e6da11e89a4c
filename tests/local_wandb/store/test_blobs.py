"""Blobs are stored completely or not at all."""

import hashlib
import io
from pathlib import Path

import pytest

from local_wandb.store.blobs import Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024])
def test_a_blob_is_stored_under_the_md5_of_its_bytes(blobs: Blobs, size: int) -> None:
    contents = bytes(size)
    key = blobs.put(io.BytesIO(contents))
    assert key == blobs.put(contents) == hashlib.md5(contents).hexdigest()
    assert blobs.path(key).read_bytes() == contents
    assert blobs.path(key).parent.name == key[:2]


def test_a_discarded_blob_leaves_no_file(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.incoming() as incoming:
        incoming.write(b"half")
    assert list((tmp_path / "blobs").iterdir()) == []


@pytest.mark.parametrize("key", ["", "x", "../../etc/passwd", "A" * 32, "a" * 31])
def test_a_key_that_is_not_an_md5_names_no_blob(blobs: Blobs, key: str) -> None:
    assert not blobs.has(key)
