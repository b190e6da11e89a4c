"""Commands for gates: check the file, weigh stored evidence again, create automations."""

import json
import sys
from pathlib import Path

import click

from commands.output import json_option
from schemas.gates import GateFile
from schemas.settings import Settings, read_gates


@click.group()
def gates() -> None:
    """Work with gate files."""


@gates.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--online", is_flag=True, help="Also ask W&B and Weave; nothing is changed there.")
def check(file: Path, online: bool) -> None:
    """Check the gate file FILE, and report every error with its line.

    With --online, also check that what the gates name exists in W&B and Weave and fits together.
    Exits with 1 if there is an error.
    """
    found = read_gates(file)
    if online:
        _check_online(found)
        return
    for gate in found.gates:
        click.echo(f"{gate.name}: watches {', '.join(gate.watch)}; promotes to {gate.promote.to}")


def _check_online(found: GateFile) -> None:
    from worker.gate_check import check_gates

    has_faults = False
    for report in check_gates(found, Settings().wandb_timeout):
        for warning in report.warnings:
            click.echo(f"{report.gate}: warning: {warning}", err=True)
        for fault in report.faults:
            click.echo(f"{report.gate}: {fault}", err=True)
        if not report.faults:
            click.echo(f"{report.gate}: {'; '.join(report.found)}")
        has_faults = has_faults or bool(report.faults)
    if has_faults:
        sys.exit(1)


@click.group()
def automation() -> None:
    """Work with W&B automations."""


@automation.command()
@click.option(
    "--integration", metavar="NAME", help="The W&B webhook to call, if there are several."
)
@click.option("--url", help="The receiver's address; only a webhook with this URL is used.")
@json_option
def create(integration: str | None, url: str | None, as_json: bool) -> None:
    """Create the W&B automations that call the webhook receiver for what the gates watch.

    It is safe to repeat. If W&B's plan or SDK does not allow a step, the steps to do by hand are
    printed.
    """
    from producers.automation import create_automations

    automations = create_automations(Settings(), integration=integration, url=url)
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") for one in automations]))
        return
    for one in automations:
        off = "" if one.enabled else "; disabled by a person"
        click.echo(f"{one.outcome:9} {one.name}: {one.event} to {one.integration}{off}")


@click.command()
@click.option("--from", "call", metavar="CALL", required=True, help="Id of the evaluation call.")
@click.option("--gate", required=True, help="The gate, as it is now.")
@json_option
def weigh(call: str, gate: str, as_json: bool) -> None:
    """Weigh a stored evaluation again, without running a model or writing anything.

    Exits with 1 if a check differs from the stored verdict.
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
