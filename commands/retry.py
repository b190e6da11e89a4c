"""Retry failed weighings."""

from collections.abc import Sequence

import click

from bus.bus import Bus
from bus.publish import publish_weighing
from commands.output import json_option, print_ids
from commands.selection import matching
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from schemas.weighings import WeighingRecord


@click.command()
@click.argument("refs", metavar="REF...", nargs=-1)
@click.option("--all-failed", is_flag=True, help="All failed weighings.")
@click.option("--gate", help="Only those under this gate.")
@json_option
def retry(refs: tuple[str, ...], all_failed: bool, gate: str | None, as_json: bool) -> None:
    """Queue failed weighings again, with the gate as it was when they were opened.

    REF is entity/project/collection:vN and may have shell wildcards, as in
    'org/wandb-registry-NAME/*:*'. If a weighing failed while a person's decision was applied, only
    the decision is applied again.
    """
    if bool(refs) == all_failed:
        raise click.UsageError("Name versions, or give --all-failed.")
    with Bus.open(Settings()) as bus:
        records = [record for record in bus.ledger.all() if gate in (None, record.id.gate)]
        chosen = [one for ref in refs for one in _failed(matching(records, ref), ref)]
        if all_failed:
            chosen = [record for record in records if record.state == "failed"]
        queued = [record.id for record in chosen if bus.ledger.retry(record.id)]
        for weighing in queued:
            publish_weighing(bus, weighing)
    print_ids(queued, as_json)


def _failed(records: Sequence[WeighingRecord], ref: str) -> list[WeighingRecord]:
    failed = [record for record in records if record.state == "failed"]
    if not failed:
        states = sorted({f"{record.state} under {record.id.gate}" for record in records})
        raise ConfigurationError(
            f"{ref} has not failed: it is {', '.join(states) or 'not in the ledger'}.",
            fix="See `weighbridge status`.",
        )
    return failed
