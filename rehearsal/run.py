"""The rehearsal: the whole story on one machine, with real parts.

It starts a local W&B, a Redis, a webhook receiver and two workers. The app team publishes its
application, the model team links three fine-tuned versions, and one webhook is dropped on purpose.
It ends when every version has its verdict.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from bus.ledger import Ledger
from rehearsal import outcome
from rehearsal.processes import Processes, exit_on_signals
from rehearsal.progress import Display
from rehearsal.services import prepare_folder, start_services
from schemas.errors import PlatformError
from schemas.verdicts import Outcome, Verdict
from schemas.weighings import WeighingRecord

ADAPTERS: dict[str, Outcome] = {"good": "promoted", "worse": "rejected", "better": "promoted"}
"""The versions that the model team links, in this order, with their expected verdicts."""

_VERDICT_TIMEOUT = 1200.0  # seconds until the last verdict, including the engine's cold start
_POLL_INTERVAL = 0.5  # seconds between two reads of the ledger


def rehearse(
    folder: Path,
    *,
    finetune: bool = False,
    broker_url: str | None = None,
    run_dir: Path | None = None,
) -> bool:
    """Run the rehearsal, print its table and write ``verdicts.json``.

    Args:
        folder: The folder of all its files; those of an earlier rehearsal are deleted.
        finetune: Train the three adapters, instead of using those in the repository.
        broker_url: The URL of a Redis to use; None starts one.
        run_dir: The run folder of the GPU worker, whose running engine is used; None starts one.

    Returns:
        Whether every version got the verdict that its training deserves.

    Raises:
        ConfigurationError: The folder contains other files.
        PlatformError: A process of the rehearsal failed.
    """
    console = Console(soft_wrap=True)
    folder = folder.absolute()
    prepare_folder(folder)
    with exit_on_signals(), ExitStack() as stack:
        console.print("[bold]Starting[/] Redis, the local W&B, the webhook receiver, two workers")
        services = start_services(folder, stack, broker_url=broker_url, run_dir=run_dir)
        console.print("[bold]App team[/] publishes the RagModel and the evaluation")
        services.processes.run("app team", ["-m", "rehearsal.app_team"])
        console.print(f"[bold]Model team[/] links {', '.join(ADAPTERS)} to the Registry")
        program = _finetune_command(folder) if finetune else _link_command()
        services.processes.run("model team", ["-m", *program], show_output=finetune)
        verdicts = _wait_for_verdicts(services.processes, services.ledger, console)
    outcome.write(verdicts, folder / "verdicts.json")
    outcome.show(verdicts, console)
    console.print(
        f"\nAll files are in {folder}. To serve its W&B data:\n"
        f"  weighbridge local-wandb --data-dir {folder / 'wandb'}",
        highlight=False,
    )
    return _check_outcomes(verdicts, console)


def _link_command() -> list[str]:
    return [
        "rehearsal.model_team",
        *(str(files("rehearsal") / "adapters" / name) for name in ADAPTERS),
    ]


def _finetune_command(folder: Path) -> list[str]:
    return ["rehearsal.finetune", str(folder / "adapters"), "--link"]


def _wait_for_verdicts(processes: Processes, ledger: Ledger, console: Console) -> list[Verdict]:
    """Start the poller when the webhooks have arrived, then wait for every verdict."""
    with Display(console) as display:

        def wait_until(reached: Callable[[list[WeighingRecord]], bool]) -> list[WeighingRecord]:
            deadline = time.monotonic() + _VERDICT_TIMEOUT
            while True:
                records = sorted(ledger.all(), key=lambda record: record.id.number)
                display.show(records)
                if reached(records):
                    return records
                processes.check()
                if time.monotonic() > deadline:
                    raise PlatformError(
                        f"Timed out after {_VERDICT_TIMEOUT:g} s waiting for the verdicts."
                    )
                time.sleep(_POLL_INTERVAL)

        wait_until(lambda records: len(records) >= len(ADAPTERS) - 1)
        console.print("One webhook was dropped on purpose: the [bold]poller[/] finds its version")
        processes.start("poller", ["-m", "weighbridge", "poll"])
        ended = wait_until(_all_ended)
    return [record.verdict for record in ended if record.verdict]


def _all_ended(records: list[WeighingRecord]) -> bool:
    return len(records) == len(ADAPTERS) and all(record.ended for record in records)


def _check_outcomes(verdicts: list[Verdict], console: Console) -> bool:
    wrong = [
        f"{verdict.weighing.version} was {verdict.outcome}, not {expected}"
        for verdict, expected in zip(verdicts, ADAPTERS.values(), strict=True)
        if verdict.outcome != expected
    ]
    for difference in wrong:
        console.print(f"[red]Unexpected verdict:[/] {difference}")
    return not wrong
