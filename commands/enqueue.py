"""Enqueue versions by hand."""

import click

from commands.output import json_option, print_ids
from commands.wait import wait_and_exit


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--gate", help="Weigh under this gate only, even if it does not watch the version.")
@click.option("--force", is_flag=True, help="Weigh again even if there is a verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdicts; exit 1 unless all promoted.")
@json_option
def enqueue(
    refs: tuple[str, ...], gate: str | None, force: bool, wait: bool, as_json: bool
) -> None:
    """Enqueue versions by hand.

    REF is entity/project/collection:version, by number or alias. With shell wildcards in the
    collection or the version, as in 'org/wandb-registry-NAME/*:v*', all matching versions in a
    registry that a gate watches are enqueued, the oldest first.
    """
    from producers.enqueue import enqueue as enqueue_versions

    enqueued = enqueue_versions(*refs, gate=gate, force=force)
    if wait:
        wait_and_exit(lambda on_change: enqueued.wait(on_change=on_change), "promoted", as_json)
    else:
        print_ids(enqueued.weighings, as_json)
