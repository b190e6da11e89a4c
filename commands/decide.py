"""Decisions of people: approve, reject, roll back."""

import click

from bus.bus import Bus
from commands.output import json_option, print_ids
from commands.wait import wait_and_exit
from schemas.errors import ConfigurationError
from schemas.settings import Settings
from schemas.verdicts import Outcome

_gate_option = click.option(
    "--gate", help="The gate, if the version awaits approval under several."
)


@click.command()
@click.argument("ref")
@_gate_option
@click.option("--why", default="", help="Recorded with the verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; exit 1 unless promoted.")
@json_option
def approve(ref: str, gate: str | None, why: str, wait: bool, as_json: bool) -> None:
    """Approve REF for promotion.

    The decision is recorded with the W&B user of WANDB_API_KEY.
    """
    _decide(ref, gate, why, approved=True, wait=wait, as_json=as_json)


@click.command()
@click.argument("ref")
@_gate_option
@click.option("--why", required=True, help="Recorded with the verdict.")
@click.option("--wait", is_flag=True, help="Wait for the verdict; exit 1 unless rejected.")
@json_option
def reject(ref: str, gate: str | None, why: str, wait: bool, as_json: bool) -> None:
    """Reject REF, which awaits approval.

    The decision is recorded with the W&B user of WANDB_API_KEY.
    """
    _decide(ref, gate, why, approved=False, wait=wait, as_json=as_json)


def _decide(
    ref: str, gate: str | None, why: str, *, approved: bool, wait: bool, as_json: bool
) -> None:
    from producers.decide import decide
    from producers.waiting import wait_for

    settings = Settings()
    wanted: Outcome = "promoted" if approved else "rejected"
    with Bus.open(settings) as bus:
        by = _username(settings)
        weighing = decide(bus, ref, gate=gate, approved=approved, by=by, why=why)
        if not wait:
            print_ids([weighing], as_json)
            return
        wait_and_exit(
            lambda on_change: wait_for(bus.ledger, {weighing: None}, on_change=on_change),
            wanted,
            as_json,
        )


def _username(settings: Settings) -> str:
    from registry.calls import wandb_api, wandb_call

    api = wandb_api(settings.wandb_timeout)
    with wandb_call("read the API key's user"):
        username = api.viewer.username
    if not username:
        raise ConfigurationError(
            "WANDB_API_KEY belongs to no user, so the decision cannot be recorded.",
            fix="Use a person's key.",
        )
    return str(username)


@click.command()
@click.argument("gate")
@click.option(
    "--to",
    metavar="VERSION",
    help="In the target collection, as v3. Default: the champion before the latest promotion.",
)
@click.option("--why", default="", help="Recorded with the rollback.")
@json_option
def rollback(gate: str, to: str | None, why: str, as_json: bool) -> None:
    """Move the aliases of GATE back to its previous champion.

    The rollback is recorded with the W&B user of WANDB_API_KEY. It is safe to repeat.
    """
    from producers.rollback import rollback as roll_back

    settings = Settings()
    with Bus.open(settings) as bus:
        done = roll_back(bus, gate, to=to, by=_username(settings), why=why)
    if as_json:
        click.echo(done.model_dump_json())
        return
    for alias, loser in done.moved.items():
        click.echo(f"{alias} moved from {loser or 'no version'} to {done.to}")
    if not done.moved:
        click.echo(f"already rolled back to {done.to}")
