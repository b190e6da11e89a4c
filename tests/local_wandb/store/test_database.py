"""The database: transactions, threads, and permissions."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_wandb.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "deep" / "test.sqlite")
    opened.create("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, n INTEGER);")
    yield opened
    opened.close()


def count(database: Database) -> int:
    row = database.row("SELECT count(*) AS n FROM t")
    assert row is not None
    return int(row["n"])


def insert_and_fail(database: Database) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO t (n) VALUES (1)")
        assert count(database) == 1
        raise ZeroDivisionError


def insert_inside_and_fail(database: Database) -> None:
    with database.write():
        with database.write() as connection:
            connection.execute("INSERT INTO t (n) VALUES (1)")
        raise ZeroDivisionError


@pytest.mark.parametrize("work", [insert_and_fail, insert_inside_and_fail])
def test_a_failed_transaction_changes_nothing(
    database: Database, work: Callable[[Database], None]
) -> None:
    with pytest.raises(ZeroDivisionError):
        work(database)
    assert count(database) == 0


def test_threads_write_one_after_the_other(database: Database) -> None:
    def write(_: int) -> None:
        with database.write() as connection:
            n = count(database)
            connection.execute("INSERT INTO t (n) VALUES (?)", (n,))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert [row["n"] for row in database.rows("SELECT n FROM t ORDER BY id")] == list(range(200))


def test_a_missing_row_is_none(database: Database) -> None:
    assert database.row("SELECT n FROM t WHERE id = ?", (9,)) is None


def test_rows_survive_a_reopen(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO t (n) VALUES (7)")
    database.close()
    again = Database(tmp_path / "deep" / "test.sqlite")
    assert count(again) == 1
    again.close()
