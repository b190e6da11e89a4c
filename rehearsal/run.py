"""The rehearsal: the whole story on one machine, with real parts.

A local W&B, a Redis, a webhook receiver and two workers are started. The app team publishes its
application, the model team links three fine-tuned versions, and one webhook is dropped on purpose.
It is over when every version has its verdict.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from rich.console import Console

from bus.ledger import Ledger
from rehearsal import outcome
from rehearsal.processes import Processes, ending_on_signals
from rehearsal.progress import Display
from rehearsal.stage import empty, set_up
from schemas.errors import PlatformError
from schemas.verdicts import Outcome, Verdict
from schemas.weighings import WeighingRecord

ADAPTERS: dict[str, Outcome] = {"good": "promoted", "worse": "rejected", "better": "promoted"}
"""The versions that the model team links, in this order, and what must become of each."""

_VERDICTS = 1200.0  # seconds until the last verdict; the engine's cold start is in it
_LOOK = 0.5  # seconds between two looks at the ledger


def rehearse(
    folder: Path,
    *,
    finetune: bool = False,
    broker_url: str | None = None,
    run_dir: Path | None = None,
) -> bool:
    """Run the rehearsal, print its table and write `verdicts.json`.

    Args:
        folder: everything that it leaves; what an earlier one left is removed.
        finetune: train the three adapters now, instead of taking those in the repository.
        broker_url: a Redis to use; None starts one.
        run_dir: of the GPU worker; an engine that runs there is used. None starts one.

    Returns:
        Whether every version got the verdict that its training deserves.

    Raises:
        ConfigurationError: the folder holds something else.
        PlatformError: a process of the rehearsal failed.
    """
    console = Console(soft_wrap=True)
    folder = folder.absolute()
    empty(folder)
    with ending_on_signals(), ExitStack() as stack:
        console.print("[bold]Starting[/] Redis, the local W&B, the webhook receiver, two workers")
        stage = set_up(folder, stack, broker_url=broker_url, run_dir=run_dir)
        console.print("[bold]App team[/] publishes the RagModel and the evaluation")
        stage.processes.run("app team", ["-m", "rehearsal.app_team"])
        console.print(f"[bold]Model team[/] links {', '.join(ADAPTERS)} to the Registry")
        program = _finetuning(folder) if finetune else _linking()
        stage.processes.run("model team", ["-m", *program], shown=finetune)
        verdicts = _weigh(stage.processes, stage.ledger, console)
    outcome.write(verdicts, folder / "verdicts.json")
    outcome.show(verdicts, console)
    console.print(
        f"\nEverything is in {folder}. To look into its W&B:\n"
        f"  weighbridge local-wandb --data-dir {folder / 'wandb'}",
        highlight=False,
    )
    return _as_expected(verdicts, console)


def _linking() -> list[str]:
    return [
        "rehearsal.model_team",
        *(str(files("rehearsal") / "adapters" / name) for name in ADAPTERS),
    ]


def _finetuning(folder: Path) -> list[str]:
    return ["rehearsal.finetune", str(folder / "adapters"), "--link"]


def _weigh(processes: Processes, ledger: Ledger, console: Console) -> list[Verdict]:
    """Start the poller when the webhooks have done their part; wait for every verdict."""
    with Display(console) as display:

        def wait_until(reached: Callable[[list[WeighingRecord]], bool]) -> list[WeighingRecord]:
            deadline = time.monotonic() + _VERDICTS
            while True:
                weighings = sorted(ledger.all(), key=lambda one: one.id.number)
                display.show(weighings)
                if reached(weighings):
                    return weighings
                processes.check()
                if time.monotonic() > deadline:
                    raise PlatformError(f"There was no verdict within {_VERDICTS:g} s.")
                time.sleep(_LOOK)

        wait_until(lambda weighings: len(weighings) >= len(ADAPTERS) - 1)
        console.print("One webhook was dropped on purpose: the [bold]poller[/] looks for it")
        processes.start("poller", ["-m", "weighbridge", "poll"])
        ended = wait_until(_all_ended)
    return [weighing.verdict for weighing in ended if weighing.verdict]


def _all_ended(weighings: list[WeighingRecord]) -> bool:
    return len(weighings) == len(ADAPTERS) and all(weighing.ended for weighing in weighings)


def _as_expected(verdicts: list[Verdict], console: Console) -> bool:
    wrong = [
        f"{verdict.weighing.version} was {verdict.outcome}, not {expected}"
        for verdict, expected in zip(verdicts, ADAPTERS.values(), strict=True)
        if verdict.outcome != expected
    ]
    for sentence in wrong:
        console.print(f"[red]Not as rehearsed:[/] {sentence}")
    return not wrong
