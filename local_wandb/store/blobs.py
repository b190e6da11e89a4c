"""Bytes on disk, each stored once under the MD5 of its contents."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: 32 hexadecimal digits, so that no key can name a path outside the folder.
KEY = re.compile(r"[0-9a-f]{32}")

#: Bytes that are copied from a stream at a time.
CHUNK = 1 << 20


class Blobs:
    """A folder ``blobs/<aa>/<md5 hex>``; a blob is stored completely or not at all.

    Args:
        folder: The folder of the blobs; created if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """Return the path of a blob, which exists only after ``put``.

        Args:
            key: MD5 of the contents, 32 hexadecimal digits.
        """
        return self._folder / key[:2] / key

    def has(self, key: str) -> bool:
        """Return whether a blob is stored.

        Args:
            key: MD5 of the contents; for any other text the answer is False.
        """
        return KEY.fullmatch(key) is not None and self.path(key).is_file()

    def put(self, contents: bytes | BinaryIO) -> str:
        """Store bytes.

        Args:
            contents: The bytes, or a binary stream that is read to its end.

        Returns:
            The key of the blob.
        """
        with self.incoming() as incoming:
            if isinstance(contents, bytes):
                incoming.write(contents)
            else:
                while chunk := contents.read(CHUNK):
                    incoming.write(chunk)
            return incoming.keep()

    @contextmanager
    def incoming(self) -> Iterator["Incoming"]:
        """Receive a blob chunk by chunk; without ``Incoming.keep`` it is discarded.

        Yields:
            The writer of the chunks.
        """
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix="incoming-")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield Incoming(self, stream, temporary)
        finally:
            temporary.unlink(missing_ok=True)


class Incoming:
    """A blob that is being received; created by ``Blobs.incoming``."""

    def __init__(self, blobs: Blobs, stream: BinaryIO, temporary: Path) -> None:
        self._blobs = blobs
        self._stream = stream
        self._temporary = temporary
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    @property
    def md5(self) -> str:
        """MD5 of the bytes so far, 32 hexadecimal digits."""
        return self._md5.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        self._stream.write(chunk)
        self._md5.update(chunk)
        self.size += len(chunk)

    def keep(self) -> str:
        """Store the complete blob.

        Returns:
            The key of the blob.
        """
        self._stream.flush()
        target = self._blobs.path(self.md5)
        target.parent.mkdir(exist_ok=True)
        self._temporary.replace(target)
        return self.md5
