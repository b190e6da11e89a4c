import re
from pathlib import Path

import pytest

from schemas.applications import Application, Columns, ModelEndpoint
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef
from schemas.settings import read_gates

_TEXT = """\
gates:
  - name: climate-rag
    watch: ["org/wandb-registry-RAG Chat Models/*"]
    rag_model: "weave:///team/project/object/RagModel:latest"
    evaluation: "weave:///team/project/object/climate_rag_eval:latest"
    chat_model: {cm_temperature: 0.0, cm_max_new_tokens: 64}
    thresholds:
      - {metric: answer_correctness.mean, at_least: 0.70}
      - {metric: model_latency.mean, at_most: 2.0}
    promote:
      to: "org/wandb-registry-RAG Models/RAG Model"
      aliases: [production]
"""

_APPLICATION = """\
    application:
      import: [acme_support.bot, acme_support.scorers]
      python: /opt/acme/bin/python
      exchange: pipeline.llm.model
      environment: [QDRANT_URL, QDRANT_KEY]
      models:
        judge-model:
          base_url: "https://api.openai.com/v1"
          key_variable: WEIGHBRIDGE_MODEL_OPENAI
          model: gpt-4.1-mini
      timeout: 3600
    columns: {input: query, truth: target, answer: response, context: sources, topic: area}
"""


def _refusal(text: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        GateFile.parse(text, "gates.yaml")
    return str(refusal.value)


def test_the_gate_file_of_the_design_is_read() -> None:
    (gate,) = GateFile.parse(_TEXT, "gates.yaml").gates
    assert gate.chat_model.cm_max_new_tokens == 64
    assert [str(threshold) for threshold in gate.thresholds] == [">= 0.7", "<= 2"]
    assert gate.promote.aliases == ("production",)


def test_the_example_in_the_repository_is_valid() -> None:
    read_gates(Path(__file__).parents[2] / "gates.example.yaml")


def test_the_commented_keys_of_the_example_are_valid() -> None:
    example = (Path(__file__).parents[2] / "gates.example.yaml").read_text()
    whole = re.sub(r"(?m)^    # (?=application:|columns:|  )", "    ", example)
    gate = _gate_of(whole)
    assert gate.application is not None
    assert gate.columns is not None
    assert gate.application.model_fields_set == set(Application.model_fields)
    assert gate.columns.model_fields_set == set(Columns.model_fields)
    [judge] = gate.application.models.values()
    assert judge.model_fields_set == set(ModelEndpoint.model_fields)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("aliases:", "alias:", r"line 12: gates.0.promote.alias: this key is not known"),
        (
            "at_least: 0.70",
            "at_leest: 0.70",
            r"line 8: .*names one bound: at_least, at_most, no_worse_than or better_than",
        ),
        ("at_least: 0.70", "at_least: .nan", r"line 8: .*finite number"),
        ("rag_model:", "rag_modle:", r"line 4: gates.0.rag_modle: this key is not known"),
        ('"weave:///team/project/object/RagModel:latest"', "5", r"line 4: .*be a valid string"),
        ("object/RagModel:latest", "RagModel", r"line 4: .*is not a reference to a Weave object"),
        ("wandb-registry-RAG Models", "models", r"line 11: .*is not in a registry"),
        ("Chat Models/*", "Chat Models/A:v3", r"line 3: .*names a version; a collection is meant"),
        ("cm_temperature: 0.0", "cm_temperature: -1", r"line 6: .*greater than or equal to 0"),
        ("name: climate-rag", "name: a/b", r"line 2: gates.0.name"),
        ("at_least: 0.70", "at_least: yes", r"line 8: .*valid number"),
        ("RAG Models/RAG Model", "RAG Models/*", r"line 11: .*is a pattern; one collection is"),
        ("RAG Models/RAG Model", "RAG Chat Models/A", r"line 2: gates.0: it watches .*promotes to"),
        ("chat_model:", "promote:", r"line 10: promote: this key is there twice"),
    ],
)
def test_a_fault_is_named_with_its_line(right: str, wrong: str, message: str) -> None:
    assert re.search(message, _refusal(_TEXT.replace(right, wrong)))


def test_every_fault_is_named_at_once() -> None:
    refusal = _refusal(_TEXT.replace("aliases:", "alias:").replace("watch:", "wacth:"))
    assert "alias:" in refusal
    assert "wacth:" in refusal
    assert "gates.0.watch: this key is missing" in refusal
    assert refusal.count("line") == 3


def test_what_is_not_yaml_is_refused() -> None:
    assert "gates.yaml is not YAML" in _refusal("gates: [")


@pytest.mark.parametrize("text", ["", "[]", "gates: []", "gates: {}"])
def test_a_file_without_gates_is_refused(text: str) -> None:
    assert "gates.yaml, line 1" in _refusal(text)


def test_two_gates_of_one_name_are_refused() -> None:
    assert "two gates are named 'climate-rag'" in _refusal(_TEXT + _TEXT.split("gates:\n")[1])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        read_gates(tmp_path / "nowhere.yaml")


def test_a_gate_watches_the_collections_that_its_pattern_names(gate: Gate) -> None:
    assert gate.watches("wandb32/wandb-registry-RAG Chat Models/Finetuned Llama-3.2")
    assert not gate.watches("wandb32/wandb-registry-RAG Models/RAG Model")
    assert not gate.watches("other/wandb-registry-RAG Chat Models/Finetuned Llama-3.2")


def test_an_unknown_gate_is_refused_with_those_that_exist(gate: Gate) -> None:
    with pytest.raises(ConfigurationError, match=r"no gate 'other'.*has: climate-rag"):
        GateFile(gates=(gate,)).gate("other")


def test_the_digest_changes_with_the_rule(gate: Gate) -> None:
    other = gate.model_copy(update={"allow_stored_code": True})
    assert gate.digest != other.digest
    assert gate.digest == gate.model_copy().digest


@pytest.mark.parametrize("aliases", ["[production]", "[]"])
def test_a_relative_threshold_needs_an_alias_that_its_champion_holds(aliases: str) -> None:
    relative = "{metric: answer_correctness.mean, no_worse_than: champion, margin: 0.02}"
    text = _TEXT.replace("{metric: answer_correctness.mean, at_least: 0.70}", relative).replace(
        "aliases: [production]", f"aliases: {aliases}"
    )
    if aliases == "[]":
        assert "needs an alias under promote.aliases" in _refusal(text)
    else:
        assert GateFile.parse(text, "gates.yaml").gates[0].relative_thresholds


@pytest.mark.parametrize(
    ("when_alias", "alias", "accepted"),
    [
        (None, None, True),
        (None, "candidate", False),
        ("candidate*", None, False),
        ("candidate*", "candidate-2", True),
        ("candidate*", "latest", False),
    ],
)
def test_a_gate_waits_for_an_alias_if_it_names_one(
    gate: Gate, event: ModelVersionEvent, when_alias: str | None, alias: str | None, accepted: bool
) -> None:
    waiting = gate.model_copy(update={"when_alias": when_alias})
    assert waiting.accepts(event.model_copy(update={"alias": alias})) is accepted


def test_a_manual_event_needs_no_alias_but_a_watched_collection(
    gate: Gate, event: ModelVersionEvent
) -> None:
    waiting = gate.model_copy(update={"when_alias": "candidate"})
    asked = event.model_copy(update={"source": "manual"})
    assert waiting.accepts(asked)
    elsewhere = ArtifactRef.parse("wandb32/wandb-registry-Others/c:v0")
    assert not waiting.accepts(asked.model_copy(update={"ref": elsewhere}))


def test_an_event_that_names_a_gate_is_accepted_by_that_gate_alone(
    gate: Gate, event: ModelVersionEvent
) -> None:
    gates = GateFile(gates=(gate, gate.model_copy(update={"name": "second"})))
    named = event.model_copy(update={"gate": "second"})
    assert [one.name for one in gates.matching(named)] == ["second"]
    assert [one.name for one in gates.matching(event)] == ["climate-rag", "second"]
    with pytest.raises(ConfigurationError, match="no gate 'third'"):
        gates.matching(event.model_copy(update={"gate": "third"}))


def _gate_of(text: str) -> Gate:
    return GateFile.parse(text, "gates.yaml").gates[0]


def test_a_gate_runs_a_teams_own_application() -> None:
    application = _gate_of(_TEXT + _APPLICATION).application
    assert application is not None
    assert application.modules == ("acme_support.bot", "acme_support.scorers")
    assert (application.python, application.exchange) == (
        "/opt/acme/bin/python",
        "pipeline.llm.model",
    )
    assert application.environment == ("QDRANT_URL", "QDRANT_KEY")
    assert (application.timeout, application.memory_gib) == (3600, None)


def test_an_application_names_the_other_models_that_it_queries() -> None:
    application = _gate_of(_TEXT + _APPLICATION).application
    assert application is not None
    judge = application.models["judge-model"]
    assert str(judge.base_url) == "https://api.openai.com/v1"
    assert (judge.key_variable, judge.model) == ("WEIGHBRIDGE_MODEL_OPENAI", "gpt-4.1-mini")
    assert (judge.retries, judge.max_concurrency) == (2, None)


def test_an_application_needs_only_its_modules() -> None:
    application = _gate_of(_TEXT + "    application: {import: [acme_support]}\n").application
    assert application is not None
    assert (application.exchange, application.python) == ("chat_model", None)
    assert (application.environment, application.models) == ((), {})


def test_a_gate_names_the_columns_that_the_report_shows() -> None:
    columns = _gate_of(_TEXT + _APPLICATION).columns
    assert columns is not None
    assert (columns.input, columns.truth, columns.topic) == ("query", "target", "area")
    assert (columns.answer, columns.context) == ("response", "sources")


def test_columns_that_are_not_named_are_absent() -> None:
    columns = _gate_of(_TEXT + "    columns: {topic: meta.area}\n").columns
    assert columns is not None
    assert (columns.topic, columns.input, columns.answer) == ("meta.area", None, None)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("import: [", "imports: [", r"line 13: gates.0.application.import: this key is missing"),
        ("[acme_support.bot, acme_support.scorers]", "[]", r"line 14: .*import: .*at least 1 item"),
        ("acme_support.bot,", "acme support,", r"line 14: .*import.0: .*match pattern"),
        ("/opt/acme/bin/python", '""', r"line 15: .*python: .*at least 1 character"),
        ("pipeline.llm.model", "pipeline..model", r"line 16: .*exchange: .*match pattern"),
        ("[QDRANT_URL,", "[QDRANT URL,", r"line 17: .*environment.0: .*match pattern"),
        ("judge-model:", "judge-model: {}\n        other:", r"line 19: .*base_url: .*is missing"),
        ('"https://api.openai.com/v1"', "api.openai.com", r"line 20: .*base_url: .*valid URL"),
        ("WEIGHBRIDGE_MODEL_OPENAI", "OPENAI_API_KEY", r"line 21: .*key_variable: .*match pattern"),
        ("model: gpt-4.1-mini", "name: gpt-4.1-mini", r"line 22: .*name: this key is not known"),
        ("timeout: 3600", "timeout: 0", r"line 23: .*timeout: .*greater than 0"),
        ("timeout: 3600", "memory_gib: -1", r"line 23: .*memory_gib: .*greater than 0"),
        ("{input: query", "{question: query", r"line 24: gates.0.columns.question: .*not known"),
        ("answer: response", "answer: output..x", r"line 24: .*columns.answer: .*match pattern"),
    ],
)
def test_a_fault_of_application_and_columns_is_named_with_its_line(
    right: str, wrong: str, message: str
) -> None:
    text = _TEXT + _APPLICATION
    assert right in text
    assert re.search(message, _refusal(text.replace(right, wrong)))


@pytest.mark.parametrize(
    "variable",
    [
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "CELERY_BROKER_URL",
        "WANDB_API_KEY",
        "WEIGHBRIDGE_ENGINE_KEY",
        "WEIGHBRIDGE_WEBHOOK_SECRET",
        "WEIGHBRIDGE_MODEL_OPENAI",
    ],
)
def test_an_application_gets_no_variable_of_the_worker_itself(variable: str) -> None:
    refusal = _refusal((_TEXT + _APPLICATION).replace("QDRANT_KEY", variable))
    assert "line 17: gates.0.application.environment.1: " in refusal
    assert f"{variable} is a secret or a setting of the worker" in refusal


def test_a_gate_without_application_and_columns_stores_neither() -> None:
    stored = _gate_of(_TEXT).model_dump_json()
    assert '"application"' not in stored
    assert '"columns"' not in stored


@pytest.mark.parametrize("key", ["application", "columns"])
def test_the_digest_changes_with_application_and_columns(key: str) -> None:
    gate = _gate_of(_TEXT + _APPLICATION)
    assert gate.digest != gate.model_copy(update={key: None}).digest


def test_a_stored_gate_keeps_its_application_and_columns() -> None:
    gate = _gate_of(_TEXT + _APPLICATION)
    stored = gate.model_dump_json()
    assert '"application":{"import":["acme_support.bot","acme_support.scorers"],' in stored
    assert "modules" not in stored
    read = Gate.model_validate_json(stored)
    assert read == gate
    assert read.digest == gate.digest
