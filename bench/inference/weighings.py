"""Compares real weighings on a rehearsal's services with two other ways to the same answers.

``python -m bench.inference.weighings FOLDER`` prints the figures as one JSON line.
"""

import json
import os
import statistics
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import psutil
import wandb
import weave
import yaml
from weave.trace.call import Call
from weave.trace.weave_client import WeaveClient

from bench.inference.work import Work, program, run_program, write_merged
from bus.bus import Bus
from bus.publish import publish
from engine.server import EngineServer
from engine.version import Version
from local_wandb.config import ENTITY, ORGANISATION, PROJECT
from rehearsal import app_team, climate
from rehearsal.model_team import link_adapter
from rehearsal.processes import exit_on_signals
from rehearsal.services import Services, prepare_folder, start_services
from schemas.events import ModelVersionEvent
from schemas.settings import Settings
from schemas.verdicts import Verdict

_ROUNDS = 3
_REGISTRY = f"{ORGANISATION}/wandb-registry-RAG Chat Models"
_ONE_QUESTION = "one_question"
_MAX_TOKENS = 32
_VERDICT_TIMEOUT = 900.0  # seconds
_WHOLE, _FIRST = "whole", "first-token"


def measure(folder: Path) -> dict[str, object]:
    """Start the services, link versions, and measure.

    Returns:
        The figures of this module, and the measurements behind them.
    """
    prepare_folder(folder)
    with exit_on_signals(), ExitStack() as stack:
        services = start_services(folder, stack)
        os.environ.update(services.environment)
        Path(services.environment["WEIGHBRIDGE_GATES"]).write_text(yaml.safe_dump(_gates()))
        app_team.main()
        client = weave.init(f"{ENTITY}/{PROJECT}")
        weave.publish(_one_question(), _ONE_QUESTION)
        first_tokens = _first_tokens(services, client)
        compared = _compare(services, client, folder)
        return {
            "warm_over_cold": first_tokens[0] / statistics.median(first_tokens[1:]),
            "cold_s": first_tokens[0],
            "warm_s": first_tokens[1:],
            **compared,
            "worker_mb": _worker_mb(services),
        }


def _gates() -> dict[str, object]:
    def gate(name: str, evaluation: str, max_tokens: int) -> dict[str, object]:
        return {
            "name": name,
            "watch": [f"{_REGISTRY}/{name}"],
            "rag_model": f"weave:///{ENTITY}/{PROJECT}/object/RagModel:v0",
            "evaluation": f"weave:///{ENTITY}/{PROJECT}/object/{evaluation}:latest",
            "chat_model": {"cm_temperature": 0.0, "cm_max_new_tokens": max_tokens},
            "thresholds": [{"metric": "answer_correctness.mean", "at_least": 1.1}],
            "promote": {"to": f"{ORGANISATION}/wandb-registry-RAG Models/{name}"},
        }

    return {
        "gates": [
            gate(_WHOLE, app_team.EVALUATION, _MAX_TOKENS),
            gate(_FIRST, _ONE_QUESTION, 1),
        ]
    }


def _one_question() -> weave.Evaluation:
    whole = app_team.evaluation()
    row = climate.questions()[0].model_dump()
    return weave.Evaluation(
        name=_ONE_QUESTION,
        dataset=weave.Dataset(name="one_climate_question", rows=[row]),
        scorers=whole.scorers,
    )


def _adapter(name: str) -> Path:
    return Path(str(files("rehearsal") / "adapters" / name))


def _first_tokens(services: Services, client: WeaveClient) -> list[float]:
    """Return the seconds from ``link_artifact`` to the first token, of one version after another.

    The first version finds no engine and a worker that has imported nothing. The services drop the
    second webhook, for the poller of a rehearsal, so the second link is of an unwatched version.
    """
    seconds = []
    with wandb.init(job_type="finetune") as run:
        for number, name in enumerate(["good", "good", "worse", "better"]):
            watched = number != 1
            begun = datetime.now(UTC)
            link_adapter(
                run, _adapter(name), {}, f"{_REGISTRY}/{_FIRST if watched else 'unwatched'}"
            )
            linked = datetime.now(UTC)
            if watched:
                verdict = _wait_for_verdict(services, _FIRST, begun)
                answered = _answers(client, verdict)[0].ended_at or linked
                seconds.append((answered - linked).total_seconds())
    return seconds


def _wait_for_verdict(services: Services, gate: str, after: datetime) -> Verdict:
    """Return the verdict of the weighing that was opened after a time."""
    found: list[Verdict] = []

    def has_ended() -> bool:
        services.processes.check()
        found.extend(
            record.verdict
            for record in services.ledger.all()
            if record.id.gate == gate and record.opened_at >= after and record.verdict
        )
        return bool(found)

    services.processes.wait_for("gpu worker", has_ended, _VERDICT_TIMEOUT)
    if found[0].evidence is None:
        raise RuntimeError(found[0].reason)
    return found[0]


def _answers(client: WeaveClient, verdict: Verdict) -> list[Call]:
    """Return the calls of the chat model in an evaluation, in the order of their ends."""
    assert verdict.evidence  # noqa: S101 (_wait_for_verdict requires it)
    root = client.get_call(verdict.evidence.weave_call)
    calls = client.get_calls(filter={"trace_ids": [root.trace_id]})
    answers = [call for call in calls if call.func_name == "ChatModel.predict"]
    return sorted(answers, key=lambda call: call.ended_at)


def _compare(services: Services, client: WeaveClient, folder: Path) -> dict[str, object]:
    """Compare the evaluation with vLLM's offline engine and the tutorial on the same prompts."""
    settings = Settings()
    begun = datetime.now(UTC)
    with wandb.init(job_type="finetune") as run:
        link_adapter(run, _adapter("good"), {}, f"{_REGISTRY}/{_WHOLE}")
    first = _wait_for_verdict(services, _WHOLE, begun)
    calls = _answers(client, first)
    version = Version.open(_adapter("good"), settings)
    work = Work(
        checkpoint=write_merged(version, folder / "merged"),
        chat_template=version.chat_template,
        conversations=[[dict(message) for message in call.inputs["query"]] for call in calls],
        max_tokens=_MAX_TOKENS,
        max_model_len=2048,
    )
    with program("bench.inference.offline", work, folder, settings) as offline:
        offline.request()  # warm
        rounds = [
            (_evaluate_again(services, first), offline.request()["seconds"]) for _ in range(_ROUNDS)
        ]
    evaluated, alone = (statistics.median(times) for times in zip(*rounds, strict=True))
    tutorial = run_program("bench.inference.tutorial", work, folder, settings)
    served = [str(call.output["content"]) for call in calls]
    differing = _differing(work, served, tutorial["answers"])
    return {
        "of_offline_vllm": alone / evaluated,
        "of_tutorial_way": tutorial["seconds"] / evaluated,
        "parity": 1 - len(differing) / len(served),
        "differing": differing,
        "evaluation_s": [ours for ours, _ in rounds],
        "offline_s": [theirs for _, theirs in rounds],
        "tutorial_s": tutorial["seconds"],
        "rows": len(served),
    }


def _evaluate_again(services: Services, verdict: Verdict) -> float:
    """Return the seconds of an evaluation of the loaded version, with an empty prefix cache."""
    engine = EngineServer.find(Settings().run_dir / "engine")
    assert engine  # noqa: S101 (it has just served)
    engine.request("POST", "/reset_prefix_cache")
    begun = datetime.now(UTC)
    version = verdict.weighing.version
    event = ModelVersionEvent(ref=version, source="manual", gate=_WHOLE, force=True)
    with Bus.open(Settings()) as bus:
        publish(bus, event, bus.settings.gates.matching(event))
    return _wait_for_verdict(services, _WHOLE, begun).seconds.evaluate


def _differing(work: Work, served: list[str], reference: list[str]) -> list[dict[str, str]]:
    """Return the rows that vLLM and transformers answer differently."""
    rows = zip(work.conversations, served, reference, strict=True)
    return [
        {"prompt": messages[-1]["content"][-120:], "vllm": ours, "transformers": theirs}
        for messages, ours, theirs in rows
        if ours != theirs
    ]


def _worker_mb(services: Services) -> float:
    """Return the peak resident memory, in MB, of the GPU worker's largest process."""
    worker = services.processes.child("gpu worker")
    processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
    workers = [process for process in processes if "weighbridge" in process.cmdline()]
    return max(_peak_kib(process.pid) for process in workers) * 1024 / 1e6


def _peak_kib(pid: int) -> int:
    """Return the peak resident memory of a process (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
