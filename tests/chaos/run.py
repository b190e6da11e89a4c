"""Links versions while faults strike, and checks that each gets its one right verdict.

``python -m tests.chaos.run [--seed N] [--versions 200] [--json PATH]``
"""

import os
import random
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from rehearsal.processes import exit_on_signals
from tests.chaos.cleanup import remaining_processes
from tests.chaos.environment import start_environment
from tests.chaos.scenario import Scenario
from tests.chaos.summary import Summary
from tests.chaos.verify import failed_checks


@click.command()
@click.option("--seed", type=int, default=lambda: random.randrange(10**6), help="Random seed.")
@click.option("--versions", type=int, default=200, show_default=True, help="How many to link.")
@click.option("--lease", type=float, default=10.0, show_default=True, help="Lease in seconds.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the summary there.")
def main(seed: int, versions: int, lease: float, path: Path | None) -> None:
    """Link versions while faults strike; exit 1 when a check fails."""
    # Not in the tests' temporary folder: the logs of a failed run are kept.
    folder = Path(tempfile.mkdtemp(prefix="wb-chaos-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"]))
    click.echo(f"seed {seed}, logs in {folder}")
    with exit_on_signals(), ExitStack() as stack:
        dice = random.Random(f"{seed} environment")
        environment = start_environment(folder, stack, dice, versions, lease)
        scenario = Scenario(environment, seed, versions)
        scenario.run()
        failures = scenario.missing_links() + scenario.missing_faults()
        failures += failed_checks(environment, scenario.linked)
        summary = Summary.of(environment, scenario)
    failures += remaining_processes(folder)
    _conclude(summary, failures, folder, path)


def _conclude(summary: Summary, failures: list[str], folder: Path, path: Path | None) -> None:
    if path:
        path.write_text(summary.model_dump_json(indent=2))
    for failure in failures:
        click.echo(f"FAILED: {failure}")
    if failures:
        click.echo(f"The logs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(str(summary))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
