"""Links versions while everything breaks, and tells whether each got its verdict.

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
from tests.chaos.course import Course
from tests.chaos.faults import Faults
from tests.chaos.figures import Figures
from tests.chaos.leftovers import processes_left
from tests.chaos.stage import set_up
from tests.chaos.verify import faults_found


@click.command()
@click.option("--seed", type=int, default=lambda: random.randrange(10**6), help="Of all chance.")
@click.option("--versions", type=int, default=200, show_default=True, help="How many to link.")
@click.option("--lease", type=float, default=10.0, show_default=True, help="Seconds of a lease.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the figures there.")
def main(seed: int, versions: int, lease: float, path: Path | None) -> None:
    """Link versions while everything breaks; exit 1 when anything is off."""
    # Where the logs outlive this process: the scratch folder of the tests does not.
    folder = Path(tempfile.mkdtemp(prefix="wb-chaos-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"]))
    click.echo(f"seed {seed}, logs in {folder}")
    with exit_on_signals(), ExitStack() as stack:
        stage = set_up(folder, stack, random.Random(f"{seed} stage"), versions, lease)
        course = Course(stage, Faults(stage, random.Random(f"{seed} faults")), seed, versions)
        course.run()
        off = [*course.missing(), *faults_found(stage, course.linked)]
        figures = Figures.of(stage, course)
    off += processes_left(folder)
    _conclude(figures, off, folder, path)


def _conclude(figures: Figures, off: list[str], folder: Path, path: Path | None) -> None:
    if path:
        path.write_text(figures.model_dump_json(indent=2))
    for fault in off:
        click.echo(f"OFF: {fault}")
    if off:
        click.echo(f"The logs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(str(figures))
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
