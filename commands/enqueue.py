"""Put versions on the bus by hand."""

import click

from commands.output import json_option, print_ids
from commands.wait import conclude


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--gate", help="Weigh under this gate only, whatever it watches.")
@click.option("--force", is_flag=True, help="Weigh again although there is a verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdicts; exit 1 unless all promoted.")
@json_option
def enqueue(
    refs: tuple[str, ...], gate: str | None, force: bool, wait: bool, as_json: bool
) -> None:
    """Put versions on the bus by hand.

    REF is entity/project/collection:version, by number or alias. Shell wildcards in the collection
    or the version, as in 'org/wandb-registry-NAME/*:v*', take all versions in a registry that match
    and that a gate watches, the oldest first.
    """
    from producers.enqueue import enqueue as put

    enqueued = put(*refs, gate=gate, force=force)
    if wait:
        conclude(lambda on_change: enqueued.wait(on_change=on_change), "promoted", as_json)
    else:
        print_ids(enqueued.weighings, as_json)
