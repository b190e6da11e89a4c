"""The cost of the ledger's guarantees: its transitions beside bare Redis commands.

``python -m bench.ledger [--weighings N] [--json PATH]`` starts a Redis and alternates between both,
so that a busy machine slows both.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import redis

from bench.gate import GATE
from bus.connection import connect
from bus.ledger import Ledger
from rehearsal.redis_server import redis_server
from schemas.events import ModelVersionEvent, WeighingId
from schemas.verdicts import Verdict

_TRANSITIONS = 4  # open, claim, renew, end
_ROUNDS = 5


def _run_weighing(ledger: Ledger, number: int) -> None:
    weighing = WeighingId(gate=GATE.name, collection="org/wandb-registry-R/c", number=number)
    event = ModelVersionEvent(ref=weighing.version, source="manual")
    ledger.open(weighing, GATE, event)
    token = ledger.claim(weighing, "a worker") or ""
    ledger.renew(weighing, token)
    verdict = Verdict(weighing=weighing, source="manual", outcome="rejected", reason="measured")
    ledger.end(verdict, token)


def _run_bare_commands(client: redis.Redis, number: int) -> None:
    for field in range(_TRANSITIONS):
        client.hset(f"bare:{number}", str(field), "x" * 500)


def _rate(step: Callable[[int], None], numbers: range) -> float:
    start = time.perf_counter()
    for number in numbers:
        step(number)
    return len(numbers) * _TRANSITIONS / (time.perf_counter() - start)


@click.command()
@click.option("--weighings", default=500, show_default=True, help="Per round.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(weighings: int, path: Path | None) -> None:
    """Print transitions and bare HSETs per second, and the ratio of the best rounds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder)) as url,
        connect(url) as client,
    ):
        ledger = Ledger(client, lease=60)
        rounds = [range(i * weighings, (i + 1) * weighings) for i in range(_ROUNDS)]
        pairs = [
            (
                _rate(lambda number: _run_weighing(ledger, number), numbers),
                _rate(lambda number: _run_bare_commands(client, number), numbers),
            )
            for numbers in rounds
        ]
    ours, bare = (max(rates) for rates in zip(*pairs, strict=True))
    figures = {"transitions_per_s": ours, "hset_per_s": bare, "of_bare_redis": ours / bare}
    for name, value in figures.items():
        print(f"{name:20} {value:10.2f}")
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
