"""Work with gates: check the file, weigh by one again, have W&B tell what they watch."""

import json
import sys
from pathlib import Path

import click

from commands.output import json_option
from schemas.settings import Settings, read_gates


@click.group()
def gates() -> None:
    """Work with gate files."""


@gates.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Check the gate file FILE; every fault is named with its line."""
    for gate in read_gates(file).gates:
        click.echo(f"{gate.name}: watches {', '.join(gate.watch)}; promotes to {gate.promote.to}")


@click.group()
def automation() -> None:
    """Work with W&B's automations."""


@automation.command()
@click.option("--integration", metavar="NAME", help="W&B's webhook to send to, if it has several.")
@click.option("--url", help="The receiver's address; only a webhook that posts there is used.")
@json_option
def create(integration: str | None, url: str | None, as_json: bool) -> None:
    """Make the W&B automations that tell the webhook receiver what the gates watch.

    Done twice, it changes nothing more. What W&B's plan or SDK does not allow is said step by step.
    """
    from producers.automation import create_automations

    made = create_automations(Settings(), integration=integration, url=url)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in made]))
        return
    for one in made:
        off = "" if one.enabled else "; a person has switched it off"
        click.echo(f"{one.outcome:9} {one.name}: {one.event} to {one.integration}{off}")


@click.command()
@click.option("--from", "call", metavar="CALL", required=True, help="Id of the evaluation's call.")
@click.option("--gate", required=True, help="The gate to weigh it by, as it is now.")
@json_option
def weigh(call: str, gate: str, as_json: bool) -> None:
    """Weigh a stored evaluation again, without running a model; nothing is written.

    Exits with 1 when a check is not what the stored verdict says.
    """
    from worker.recording import weave_client
    from worker.reweigh import reweigh

    rule = Settings().gates.gate(gate)
    again = reweigh(weave_client(rule), call, rule)
    if as_json:
        click.echo(again.model_dump_json())
    else:
        click.echo(f"stored  {again.stored.outcome:17} {again.stored.reason}")
        click.echo(f"again   {again.outcome:17} {again.reason}")
        for difference in again.differing:
            click.echo(f"differs {difference}")
    if again.differing:
        sys.exit(1)
