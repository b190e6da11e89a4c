"""``make rehearsal``, and the evidence that a second process finds after it."""

import json
from typing import Any

import pytest

from rehearsal import climate
from tests.e2e.rehearsed import Program, Rehearsed, mentioning

_ROWS = len(climate.questions())
_PROMOTED, _REJECTED = [0, 2], [1]


@pytest.fixture(scope="module")
def found(rehearsed: Rehearsed, program: Program) -> list[dict[str, Any]]:
    evidence: list[dict[str, Any]] = program("find_evidence.py", json.dumps(rehearsed.verdicts))
    return evidence


def test_the_rehearsal_succeeds(rehearsed: Rehearsed) -> None:
    assert rehearsed.exit_code == 0, rehearsed.output


def test_two_versions_are_promoted_and_the_worse_one_is_rejected(rehearsed: Rehearsed) -> None:
    verdicts = [verdict["verdict"] for verdict in rehearsed.verdicts]
    assert verdicts == ["promoted", "rejected", "promoted"]


def test_the_poller_finds_the_version_whose_webhook_was_dropped(rehearsed: Rehearsed) -> None:
    assert [v["source"] for v in rehearsed.verdicts] == ["webhook", "poller", "webhook"]


def test_the_rejection_says_which_threshold_failed(rehearsed: Rehearsed) -> None:
    (rejected,) = [rehearsed.verdicts[i] for i in _REJECTED]
    failed = [check["metric"] for check in rejected["checks"] if not check["passed"]]
    assert failed == ["answer_correctness.mean"] * 2  # by itself, and beside the champion
    assert "answer_correctness.mean is" in rejected["reason"]
    assert rejected["reason"] in rehearsed.output


def test_the_table_shows_the_values_of_verdicts_json(rehearsed: Rehearsed) -> None:
    cells = {
        line.split("│")[1].strip(): line for line in rehearsed.output.splitlines() if "│" in line
    }
    for verdict in rehearsed.verdicts:
        assert verdict["verdict"] in cells["verdict"]
        assert verdict["source"] in cells["found by"]
        for check in verdict["checks"]:
            ((kind, bound), *_) = check["threshold"].items()
            if sign := {"at_least": ">=", "at_most": "<="}.get(kind):
                assert f"{check['value']:.3f}" in cells[f"{check['metric']} {sign} {bound:g}"]
        for step, seconds in verdict["seconds"].items():
            assert f"{seconds:.1f} s" in cells[step]


def test_every_link_is_printed(rehearsed: Rehearsed) -> None:
    for verdict in rehearsed.verdicts:
        for link in ("run_url", "weave_url", "promoted_ref"):
            assert verdict[link] is None or verdict[link] in rehearsed.output


def test_no_process_is_left(rehearsed: Rehearsed) -> None:
    assert mentioning(rehearsed.folder) == []


def test_every_row_of_the_evaluation_is_on_the_trace_server(found: list[dict[str, Any]]) -> None:
    for evidence in found:
        assert evidence["root_ended"]
        assert (evidence["rows"], evidence["dataset_rows"]) == (_ROWS, _ROWS)


def test_the_verdict_follows_from_the_rows(
    rehearsed: Rehearsed, found: list[dict[str, Any]]
) -> None:
    for verdict, evidence in zip(rehearsed.verdicts, found, strict=True):
        mean = sum(evidence["scores"]) / _ROWS
        checks = [c for c in verdict["checks"] if c["metric"] == "answer_correctness.mean"]
        assert [check["value"] for check in checks] == [pytest.approx(mean)] * 2
        assert evidence["root_summary"]["mean"] == pytest.approx(mean)
        assert evidence["summary"]["answer_correctness"]["mean"] == pytest.approx(mean)


def test_tokens_are_counted_once_per_row(rehearsed: Rehearsed, found: list[dict[str, Any]]) -> None:
    for verdict, evidence in zip(rehearsed.verdicts, found, strict=True):
        ((model, usage),) = evidence["usage"].items()
        assert verdict["version"] in model
        assert usage["requests"] == _ROWS
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_run_and_evaluation_refer_to_each_other(
    rehearsed: Rehearsed, found: list[dict[str, Any]]
) -> None:
    for verdict, evidence in zip(rehearsed.verdicts, found, strict=True):
        assert (evidence["job_type"], evidence["state"]) == ("model_evaluation", "finished")
        assert evidence["config"]["weave_eval_call"] == verdict["weave_call"]
        assert evidence["config"]["weave_eval_url"] == verdict["weave_url"]
        assert evidence["calls_of_run"] > _ROWS


def test_lineage_is_recorded_in_both_directions(found: list[dict[str, Any]]) -> None:
    for evidence in found:
        assert evidence["logged_by"] == "finetune"
        assert evidence["used_by"] == [evidence["run"]]
        assert evidence["used"] == [evidence["chat_model_id"]]


def test_a_promoted_version_refers_to_the_evaluated_rag_model(
    rehearsed: Rehearsed, found: list[dict[str, Any]]
) -> None:
    for number in _PROMOTED:
        verdict, evidence = rehearsed.verdicts[number], found[number]
        assert evidence["ref"] == verdict["rag_model"]
        assert evidence["ref"].startswith(
            "weave:///wandb-smle/weave-cookboook-demo/object/RagModel:"
        )
        assert evidence["rag_chat_model"] == f"wandb-artifact:///{verdict['version']}"
        assert evidence["by_digest"]
        assert evidence["promoted_by"] == evidence["run"]
        assert evidence["promoted_url"].endswith(evidence["ref"].rsplit(":", 1)[1])


def test_the_last_promoted_version_has_the_alias(
    rehearsed: Rehearsed, found: list[dict[str, Any]]
) -> None:
    last = max(_PROMOTED, key=lambda number: str(rehearsed.verdicts[number]["promoted_ref"]))
    held = [number for number in _PROMOTED if "production" in found[number]["promoted_aliases"]]
    assert held == [last]


def test_a_rejected_version_leaves_no_trace_in_the_target_registry(
    rehearsed: Rehearsed, program: Program
) -> None:
    (rejected,) = [rehearsed.verdicts[i] for i in _REJECTED]
    assert rejected["promoted_ref"] is None
    promoted = program("list_rag_models.py")["promoted"]
    assert rejected["rag_model"] not in promoted
    assert len(promoted) == len(_PROMOTED)
