"""One SQLite file, safe to use from every thread of the server."""

import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Seconds to wait for a writer in another process.
BUSY_TIMEOUT_S = 30.0

Arguments = Sequence[Any] | Mapping[str, Any]


class Database:
    """The SQLite database of a local W&B.

    Every thread has its own connection, so reads never wait for each other (WAL), and a read
    inside ``write()`` sees what that transaction wrote.

    Args:
        path: The SQLite file; created if missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._writing = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._connection().execute("PRAGMA journal_mode = WAL")

    def create(self, schema_sql: str) -> None:
        """Create the missing tables.

        Args:
            schema_sql: ``CREATE TABLE IF NOT EXISTS`` (and INDEX) statements, each ended by ``;``.
        """
        with self._writing:
            self._connection().executescript(schema_sql)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one transaction: commit at its end, or roll back if it raises.

        Writers of this process queue up; a ``write()`` inside another joins it.

        Yields:
            The connection of this thread, inside ``BEGIN IMMEDIATE``.
        """
        connection = self._connection()
        if connection.in_transaction:
            yield connection
            return
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def rows(self, sql: str, args: Arguments = ()) -> list[sqlite3.Row]:
        """Return every row of a query.

        Args:
            sql: The statement, with ``?`` or ``:name`` placeholders.
            args: The values of the placeholders.
        """
        return self._connection().execute(sql, args).fetchall()

    def row(self, sql: str, args: Arguments = ()) -> sqlite3.Row | None:
        """Return the first row of a query, or None.

        Args:
            sql: The statement, with ``?`` or ``:name`` placeholders.
            args: The values of the placeholders.
        """
        row: sqlite3.Row | None = self._connection().execute(sql, args).fetchone()
        return row

    def close(self) -> None:
        """Close the connection of every thread; the database is not usable afterwards."""
        for connection in list(self._open):
            connection.close()

    def _connection(self) -> "_Connection":
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,  # close() ends the connections of other threads
                factory=_Connection,
            )
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")  # loses data on power failure only
            self._local.connection = connection
            self._open.add(connection)
        return connection


class _Connection(sqlite3.Connection):
    """A connection with weak references, so that the connection of an ended thread is freed."""
