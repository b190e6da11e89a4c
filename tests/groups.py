"""Which tests share a worker of pytest-xdist, and which of them start first.

The files that use the one engine of a session form a group, which one worker runs in this order.
Each other file is a group of its own, so that what its tests share is started once. Groups start in
the order of collection, which begins with the long ones, so that the workers finish together.

The groups are made by path, in a scheduler: the marks of ``--dist=loadgroup`` have no effect with
pytest 9.2 and pytest-xdist 3.8.
"""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

# The rehearsals find the engine running, and the tests that kill it come last.
_ENGINE = (
    "tests/e2e/test_rehearsal.py",
    "tests/e2e/test_numbers.py",
    "tests/engine/test_rag_application.py",
    "tests/engine/test_external.py",
    "tests/engine/test_engine.py",
    "tests/e2e/test_bad_input.py",
)
# More than 7 s each without it; ``make test-fast`` leaves these out.
_SLOW = (
    "tests/e2e/test_people.py",
    "tests/worker/test_applications.py",
    "tests/examples/test_support_bot.py",
    "tests/chaos/test_takeover.py",
    "tests/chaos/test_chaos.py",
    "tests/e2e/test_signals.py",
    "tests/engine/test_lora_engine.py",
    "tests/engine/test_transformers_server.py",
    "tests/worker/test_liveness.py",
    "tests/worker/test_tasks.py",
    "tests/worker/artifacts/test_transfer.py",
    "tests/worker/test_outages.py",
    "tests/rehearsal/test_finetune.py",
    "tests/e2e/test_tutorial.py",
    "tests/engine/test_merge.py",
    "tests/local_wandb/test_schema.py",
    "tests/local_wandb/test_process.py",
    "tests/application/rag/test_vector_store.py",
    "tests/application/rag/test_stored_source.py",
    "tests/application/test_rebuild.py",
    "tests/application/test_run.py",
    "tests/application/test_instances.py",
    "tests/application/rag/test_judge.py",
    "tests/local_wandb/test_artifacts.py",
    "tests/commands/test_enqueue.py",
    "tests/local_wandb/test_registries.py",
    "tests/engine/test_unpack.py",
    "tests/engine/test_hub.py",
    "tests/engine/test_transformers_loading.py",
    "tests/rehearsal/test_base_model.py",
    "tests/rehearsal/test_lessons.py",
    "tests/producers/test_webhook_contract.py",
    "tests/producers/test_rollback.py",
    "tests/producers/test_enqueue.py",
    "tests/producers/test_poller.py",
    "tests/producers/test_automation.py",
    "tests/producers/test_poll_loop.py",
    "tests/registry/test_calls.py",
    "tests/worker/verdict/statistics/test_paired.py",
    "tests/worker/verdict/test_early_stop.py",
    "tests/worker/test_recording.py",
    "tests/worker/test_gate_check.py",
    "tests/worker/artifacts/test_download.py",
    "tests/application/rag/test_old_names.py",
    "tests/engine/test_guard.py",
    "tests/local_wandb/test_automations.py",
    "tests/worker/test_reweigh.py",
    "tests/bus/test_connection.py",
    "tests/upgrade/test_published.py",
    "tests/local_wandb/traces/test_evaluations.py",
    "tests/rehearsal/test_model_team.py",
    "tests/commands/test_status.py",
    "tests/bus/test_lease.py",
    "tests/producers/test_webhook.py",
    "tests/worker/test_apply_decision.py",
    "tests/worker/test_promote.py",
    "tests/worker/test_champion.py",
    "tests/registry/test_champions.py",
    "tests/worker/publishing/test_publish.py",
    "tests/application/rag/test_rag_model.py",
    "tests/commands/test_decide.py",
    "tests/test_layers.py",
    "tests/worker/test_evaluation.py",
    "tests/application/test_batches.py",
    "tests/application/test_exchange.py",
    "tests/application/test_exchange_errors.py",
    "tests/worker/applications/test_process.py",
)
_ORDER = {path: place for place, path in enumerate((*_ENGINE, *_SLOW))}


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives the tests of a group to one worker; needs ``--no-loadscope-reorder``."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        return "the engine" if path in _ENGINE else path


def is_left_out(root: Path, file: Path, markers: str) -> bool:
    """Whether ``-m`` leaves out every test of a file.

    Args:
        root: The folder that the paths of tests are relative to.
        markers: The expression of ``-m``.
    """
    return "not slow" in markers and file.is_file() and _relative(root, file) in _SLOW


def arrange(root: Path, items: list[pytest.Item]) -> None:
    """Sort collected tests by group, and mark what is slow or uses the session's engine.

    Args:
        root: The folder that the paths of tests are relative to.

    Raises:
        pytest.UsageError: A test uses the session's engine outside its group.
    """
    for item in items:
        if _path(root, item) in _SLOW:
            item.add_marker(pytest.mark.slow)
        # Fixtures of tests/conftest.py; some tests call one of another kind ``engine``.
        if {"engine", "engine_settings"} <= set(getattr(item, "fixturenames", ())):
            if _path(root, item) not in _ENGINE:
                raise pytest.UsageError(f"{item.nodeid} uses the engine: add it to {__file__}.")
            item.add_marker(pytest.mark.engine)
    items.sort(key=lambda item: _ORDER.get(_path(root, item), len(_ORDER)))


def _path(root: Path, item: pytest.Item) -> str:
    return _relative(root, item.path)


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
