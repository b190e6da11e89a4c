"""Files of objects and ops: their digests by project, and their bytes as blobs."""

import hashlib
from pathlib import Path
from typing import BinaryIO

from local_wandb.errors import NotFoundError
from local_wandb.store.blobs import CHUNK, Blobs
from local_wandb.store.database import Database
from local_wandb.store.traces.digests import check, encode

SCHEMA = """
CREATE TABLE IF NOT EXISTS weave_files (
    project_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (project_id, digest)
);
"""


class FileStore:
    """Files by their Weave digest.

    Args:
        database: The table of digests.
        folder: The folder of the bytes.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._blobs = Blobs(folder)
        database.create(SCHEMA)

    def create(self, project_id: str, content: BinaryIO, expected: str | None) -> str:
        """Store a file.

        Args:
            content: The bytes, read to their end chunk by chunk.
            expected: The digest that the client computed, if any.

        Returns:
            The digest.

        Raises:
            ConflictError: The bytes have another digest than expected.
        """
        sha256 = hashlib.sha256()
        with self._blobs.incoming() as incoming:
            while chunk := content.read(CHUNK):
                sha256.update(chunk)
                incoming.write(chunk)
            digest = encode(sha256.digest())
            check(digest, expected)
            blob = incoming.keep()
        with self._database.write() as connection:
            sql = "INSERT OR IGNORE INTO weave_files VALUES (?, ?, ?)"
            connection.execute(sql, (project_id, digest, blob))
        return digest

    def path(self, project_id: str, digest: str) -> Path:
        """Return the path of a file's bytes.

        Raises:
            NotFoundError: The project has no such file.
        """
        sql = "SELECT blob FROM weave_files WHERE project_id = ? AND digest = ?"
        row = self._database.row(sql, (project_id, digest))
        if row is None:
            raise NotFoundError(f"file {digest} does not exist in {project_id}")
        return self._blobs.path(row["blob"])
