"""Check gates against W&B and Weave: what a gate names must exist and fit together.

Nothing is written, and no stored code runs.
"""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import TypeVar

import wandb
from pydantic import BaseModel, ConfigDict

from application.exchange import exchanged_value, resolved_application
from application.rebuild import load_chat_model, load_evaluation
from registry.aliases import refusal, refusal_of_pattern
from registry.calls import wandb_api
from registry.champions import ARTIFACT_TYPE
from registry.contents import RegistryContents, read_registry
from schemas.errors import ConfigurationError
from schemas.gates import Gate, GateFile
from schemas.refs import ArtifactRef, CollectionRef
from worker.recording import reading_client
from worker.stored_evaluation import StoredEvaluation, StoredScorer
from worker.threshold_check import column_faults, metric_faults

_Result = TypeVar("_Result")


class GateReport(BaseModel):
    """What W&B and Weave have of what a gate names.

    Attributes:
        gate: The gate's name.
        found: What was found, in words.
        warnings: What may be as intended, such as a pattern that matches no collection yet.
        faults: What does not exist or does not fit, each with its fix.
    """

    model_config = ConfigDict(frozen=True)

    gate: str
    found: tuple[str, ...]
    warnings: tuple[str, ...]
    faults: tuple[str, ...]


def check_gates(gates: GateFile, timeout: float) -> Iterator[GateReport]:
    """Check each gate against W&B and Weave.

    An application's interpreter and the variables that hold keys are not checked: they are on the
    workers' machines.

    Args:
        gates: The gates.
        timeout: Timeout of each call to W&B in seconds.

    Yields:
        One report for each gate, in their order.

    Raises:
        ConfigurationError: The key is refused.
        PlatformError: W&B or Weave did not answer.
    """
    registries = _Registries(wandb_api(timeout))
    reading_client(gates.gates[0].rag_model.project_path)
    for gate in gates.gates:
        yield _Check(gate, registries).report()


class _Registries:
    """Reads each registry once, also one that does not exist."""

    def __init__(self, api: wandb.Api) -> None:
        self._api = api
        self._read: dict[tuple[str, str], RegistryContents | ConfigurationError] = {}

    def of(self, ref: CollectionRef) -> RegistryContents:
        """Return the registry of a collection.

        Raises:
            ConfigurationError: There is no such registry, or this key may not read it.
        """
        key = (ref.entity, ref.project)
        if key not in self._read:
            try:
                self._read[key] = read_registry(self._api, *key)
            except ConfigurationError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, ConfigurationError):
            raise found
        return found


class _Check:
    """The checks of one gate, each of which may fail by itself."""

    def __init__(self, gate: Gate, registries: _Registries) -> None:
        self._gate = gate
        self._registries = registries
        self._found: list[str] = []
        self._warnings: list[str] = []
        self._faults: list[str] = []

    def report(self) -> GateReport:
        """Run every check."""
        self._check_watched()
        self._try("promote.to", self._check_target)
        self._check_aliases()
        self._check_application()
        self._check_evaluation()
        return GateReport(
            gate=self._gate.name,
            found=tuple(self._found),
            warnings=tuple(self._warnings),
            faults=tuple(dict.fromkeys(self._faults)),
        )

    def _try(self, key: str, check: Callable[[], _Result]) -> _Result | None:
        try:
            return check()
        except ConfigurationError as error:
            self._fault(key, error)
            return None

    def _fault(self, key: str, error: ConfigurationError) -> None:
        text = str(error)
        self._faults.append(text if text.startswith(f"{key}: ") else f"{key}: {text}")

    def _check_watched(self) -> None:
        matched: set[str] = set()
        for pattern in self._gate.watch:
            paths = self._try("watch", partial(self._watched, pattern))
            matched |= paths or set()
            if paths is not None and not paths:
                self._warnings.append(f"watch: {pattern} matches no collection yet.")
        self._found.append(f"watches {_counted(len(matched), 'collection')}")

    def _watched(self, pattern: str) -> set[str]:
        registry = self._registries.of(ArtifactRef.parse(pattern))
        paths = {f"{registry.path}/{name}" for name in registry.collections}
        return {path for path in paths if fnmatchcase(path, pattern)}

    def _check_target(self) -> None:
        target = self._gate.promote.to
        registry = self._registries.of(target)
        existing = registry.collections.get(target.collection)
        if not registry.accepts(ARTIFACT_TYPE):
            accepted = ", ".join(sorted(registry.artifact_types or ())) or "none"
            raise ConfigurationError(
                f"The registry {registry.path} does not accept artifacts of type {ARTIFACT_TYPE},"
                f" which a promotion links; it accepts {accepted}.",
                fix=f"Add the type {ARTIFACT_TYPE} in the registry's settings, or promote to"
                " another registry.",
            )
        if existing not in (None, ARTIFACT_TYPE):
            raise ConfigurationError(
                f"The collection {target} is of type {existing}; a promotion links artifacts of"
                f" type {ARTIFACT_TYPE}.",
                fix="Promote to another collection.",
            )
        self._found.append(f"promotes to {target}{'' if existing else ', which is not there yet'}")

    def _check_aliases(self) -> None:
        for alias in self._gate.promote.aliases:
            if reason := refusal(alias):
                self._fault(
                    "promote.aliases",
                    ConfigurationError(f"The alias '{alias}' {reason}.", fix="Choose another one."),
                )
        pattern = self._gate.when_alias
        if pattern and (reason := refusal_of_pattern(pattern)):
            error = ConfigurationError(
                f"No version is ever given an alias that matches '{pattern}': it {reason}.",
                fix="Choose another one, or remove when_alias to weigh each version when it is"
                " linked.",
            )
            self._fault("when_alias", error)

    def _check_application(self) -> None:
        uri = self._gate.rag_model.uri
        if self._try("rag_model", lambda: resolved_application(uri)) is None:
            return
        application, parameters = self._gate.application, self._gate.chat_model
        if application is None:
            # Any version will do: it is not read.
            version = self._gate.promote.to.at("v0").uri
            if self._try("rag_model", lambda: load_chat_model(uri, version, parameters)):
                self._found.append(f"{self._gate.rag_model.name} is a RagModel")
            return
        value = self._try(
            "exchange", lambda: exchanged_value(uri, application.exchange, parameters)
        )
        if value is not None:
            self._found.append(f"exchanges {application.exchange}, which is '{value}'")

    def _check_evaluation(self) -> None:
        gate = self._gate
        evaluation = self._try("evaluation", lambda: StoredEvaluation(gate.evaluation.uri))
        if evaluation is None:
            return
        self._try("evaluation", lambda: _require_runnable(gate, evaluation))
        scorers = self._try("evaluation", evaluation.scorers)
        if scorers is not None:
            self._found.append(f"measures with {_names(scorers)}")
            for error in metric_faults(gate, scorers):
                self._fault("thresholds", error)
        for error in self._try("evaluation", lambda: list(column_faults(gate, evaluation))) or ():
            self._fault("thresholds", error)


def _require_runnable(gate: Gate, evaluation: StoredEvaluation) -> None:
    """Require that a worker accepts the code of an evaluation."""
    if gate.application is not None:
        if evaluation.preprocess_is_text:
            raise ConfigurationError(
                f"The preprocess_model_input of {evaluation.uri} is a plain function, which Weave"
                " stores as text only.",
                fix="Decorate it with @weave.op and publish the evaluation again.",
            )
    elif not gate.allow_stored_code:
        load_evaluation(gate.evaluation.uri)


def _names(scorers: list[StoredScorer]) -> str:
    return ", ".join(scorer.name for scorer in scorers) or "no scorer"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
