"""Measures events from webhook to worker, prints a table, and fails below a bound."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

_AT_LEAST = {"webhook_per_s": 500, "two_workers_over_one": 1.8}


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(path: Path | None) -> None:
    """Measure webhook, workers and poller. Takes about ten minutes on two cores."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="wb-bench-") as scratch:
        for module in ("webhook", "drain", "poller"):
            click.echo(f"measuring {module} ...", err=True)
            figures |= _measured(module, Path(scratch) / f"{module}.json")
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")
    for name, value in figures.items():
        click.echo(f"{name:28} {value:10.4g}   {_bound(name, value)}")
    sys.exit(any(figures[name] < bound for name, bound in _AT_LEAST.items()))


def _measured(module: str, path: Path) -> dict[str, Any]:
    """Measure in a separate process, so that no figure depends on another's memory."""
    subprocess.run(
        [sys.executable, "-m", f"bench.events.{module}", "--json", str(path)],
        stdout=subprocess.DEVNULL,
        check=False,  # this process reports a figure below its bound
    )
    figures: dict[str, Any] = json.loads(path.read_text())
    return figures


def _bound(name: str, value: float) -> str:
    bound = _AT_LEAST.get(name)
    if bound is None:
        return ""
    return f"at least {bound} {'' if value >= bound else 'MISSED'}"


if __name__ == "__main__":
    main()
