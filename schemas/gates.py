"""Gates: which versions are weighed, by which evaluation, and which thresholds must hold."""

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from schemas.applications import Application, Columns, is_absent
from schemas.errors import ConfigurationError
from schemas.events import ModelVersionEvent
from schemas.refs import REGISTRY_PREFIX, ArtifactRef, CollectionPath, CollectionRef, WeaveUri
from schemas.thresholds import KINDS, Confidence, RelativeThreshold, Threshold


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChatModelParameters(_Strict):
    """Parameters of the ChatModel that a gate sets; the others stay as published."""

    cm_temperature: float | None = Field(default=None, ge=0)
    cm_max_new_tokens: int | None = Field(default=None, gt=0)
    cm_quantize: bool | None = None
    inference_batch_size: int | None = Field(default=None, gt=0)
    dtype: str | None = None
    device: str | None = None


class EarlyStop(_Strict):
    """Stop an evaluation when further rows are unlikely to change the verdict.

    Attributes:
        confidence: 1 minus the risk that the full evaluation would have had another verdict.
        batch: Rows that are evaluated between two checks.
    """

    confidence: Confidence = 0.95
    batch: int = Field(default=16, ge=1, strict=True)


class Promotion(_Strict):
    """Where a version that passes is linked, and which aliases move to it."""

    to: Annotated[CollectionPath, AfterValidator(lambda ref: _one_collection(ref))]
    aliases: tuple[str, ...] = ()


class Gate(_Strict):
    """A named rule: what it watches, the evaluation, the thresholds, where it promotes.

    Attributes:
        watch: Patterns of Registry collections, ``org/wandb-registry-NAME/COLLECTION``; the
            collection may have shell wildcards.
        when_alias: Weigh a version when it gets an alias that matches this shell pattern, not when
            it is linked.
        rag_model: The published application in which a new version replaces the model: a RagModel,
            or with ``application`` any ``weave.Model``.
        evaluation: The published Evaluation.
        chat_model: Parameters of the chat model that differ from the published ones.
        thresholds: All of them must hold.
        early_stop: Evaluate in batches, and stop as soon as the verdict is certain enough.
        approval: With ``required``, a version that passes waits for ``weighbridge approve``.
        allow_stored_code: Run scorers whose code comes from the Weave server. By default only the
            scorers of this installation run (docs/upstream/weave-protocol.md, "Stored code").
        trust_remote_code: Accept versions that bring model code (``*.py``, ``auto_map``), and let
            the engine run it.
        application: How a team's own application is run; None for the RagModel of Weighbridge.
        columns: What the report and the tables show; None for what common names say.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=64)
    watch: tuple[Annotated[str, AfterValidator(lambda path: _pattern(path))], ...] = Field(
        min_length=1
    )
    when_alias: str | None = Field(default=None, min_length=1)
    rag_model: WeaveUri
    evaluation: WeaveUri
    chat_model: ChatModelParameters = ChatModelParameters()
    thresholds: tuple[Threshold, ...] = Field(min_length=1)
    promote: Promotion
    early_stop: EarlyStop | None = None
    approval: Literal["required"] | None = None
    allow_stored_code: bool = False
    trust_remote_code: bool = False
    application: Application | None = Field(default=None, exclude_if=is_absent)
    columns: Columns | None = Field(default=None, exclude_if=is_absent)

    @model_validator(mode="after")
    def _does_not_feed_itself(self) -> Self:
        if self.watches(self.promote.to.collection_path):
            raise ValueError(f"it watches {self.promote.to}, where it promotes to")
        return self

    @model_validator(mode="after")
    def _can_find_its_champion(self) -> Self:
        if self.relative_thresholds and not self.promote.aliases:
            raise ValueError(
                f"{self.relative_thresholds[0]} needs an alias under promote.aliases:"
                " the version that holds the first one is the champion"
            )
        return self

    @property
    def relative_thresholds(self) -> tuple[RelativeThreshold, ...]:
        """The thresholds that compare with the champion."""
        return tuple(one for one in self.thresholds if isinstance(one, RelativeThreshold))

    @property
    def champion_ref(self) -> ArtifactRef | None:
        """The champion, named by its alias; None when the gate moves no alias."""
        if not self.promote.aliases:
            return None
        return self.promote.to.at(self.promote.aliases[0])

    def watches(self, collection_path: str) -> bool:
        """Whether versions of this collection are weighed under this gate."""
        return any(fnmatchcase(collection_path, pattern) for pattern in self.watch)

    def accepts(self, event: ModelVersionEvent) -> bool:
        """Whether the version of this event is weighed under this gate.

        An event that names a gate, or that a user sends by hand, needs no alias.
        """
        if event.gate is not None:
            return event.gate == self.name
        if not self.watches(event.ref.collection_path):
            return False
        return event.source == "manual" or self.accepts_alias(event.alias)

    def accepts_alias(self, alias: str | None) -> bool:
        """Whether a version is weighed when it gets this alias, or, for None, when it is linked."""
        if alias is None or self.when_alias is None:
            return alias is None and self.when_alias is None
        return fnmatchcase(alias, self.when_alias)

    @property
    def digest(self) -> str:
        """SHA-256 of the gate's contents, in hexadecimal."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class GateFile(_Strict):
    """The gate file, ``gates.yaml``."""

    gates: tuple[Gate, ...] = Field(min_length=1)

    @classmethod
    def parse(cls, text: str, origin: str) -> Self:
        """Read and check a gate file.

        Args:
            text: Contents of the file.
            origin: Name of the file in messages.

        Raises:
            ConfigurationError: The file has faults; each is named with its line.
        """
        try:
            document = yaml.compose(text, Loader=yaml.SafeLoader)
            _refuse_duplicates(document, origin)
            gate_file = cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{origin} is not YAML: {_oneline(error)}.") from error
        except ValidationError as error:
            faults = "; ".join(_faults(error, document, origin))
            raise ConfigurationError(
                faults + ".", fix="Fix the file; nothing was changed."
            ) from error
        names = [gate.name for gate in gate_file.gates]
        for name in names:
            if names.count(name) > 1:
                raise ConfigurationError(
                    f"{origin}: two gates are named '{name}'.", fix="Rename one."
                )
        return gate_file

    def matching(self, event: ModelVersionEvent) -> list[Gate]:
        """The gates under which the version of this event is weighed.

        Raises:
            ConfigurationError: The event names a gate that does not exist.
        """
        if event.gate is not None:
            return [self.gate(event.gate)]
        return [gate for gate in self.gates if gate.accepts(event)]

    def gate(self, name: str) -> Gate:
        """The gate with this name.

        Raises:
            ConfigurationError: There is none.
        """
        for gate in self.gates:
            if gate.name == name:
                return gate
        known = ", ".join(gate.name for gate in self.gates)
        raise ConfigurationError(f"There is no gate '{name}'.", fix=f"The gate file has: {known}.")


def _pattern(path: str) -> str:
    return _in_registry(CollectionRef.parse(path)).collection_path


def _one_collection(ref: CollectionRef) -> CollectionRef:
    if set("*?[") & set(ref.collection_path):
        raise ValueError(f"'{ref}' is a pattern; one collection is meant")
    return _in_registry(ref)


def _in_registry(ref: CollectionRef) -> CollectionRef:
    if not ref.project.startswith(REGISTRY_PREFIX):
        raise ValueError(
            f"'{ref}' is not in a registry: write org/{REGISTRY_PREFIX}NAME/COLLECTION"
        )
    return ref


def _refuse_duplicates(node: yaml.Node | None, origin: str) -> None:
    """Refuse a key that appears twice: YAML would silently use the last one."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigurationError(
                    f"{origin}, line {key.start_mark.line + 1}: {key.value}: this key is there"
                    " twice.",
                    fix="Remove one.",
                )
            seen.add(key.value)
            _refuse_duplicates(value, origin)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, origin)


def _faults(error: ValidationError, document: yaml.Node | None, origin: str) -> Iterable[str]:
    faults = error.errors()
    for fault in faults:
        if fault["type"] == "too_short" and any(_below(fault["loc"], f["loc"]) for f in faults):
            continue  # an item that has a fault is not missing as well
        line = _line(document, fault["loc"])
        key = ".".join(str(part) for part in fault["loc"] if part not in KINDS)
        reason = _MESSAGES.get(fault["type"], fault["msg"].removeprefix("Value error, "))
        yield f"{origin}, line {line}: {key}: {reason}"


def _below(path: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(other) > len(path) and other[: len(path)] == path


_MESSAGES: dict[str, str] = {
    "extra_forbidden": "this key is not known",
    "missing": "this key is missing",
}


def _line(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest node on the path that the document has."""
    if node is None:
        return 1
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                continue  # a union's tag, or a key that is missing
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _oneline(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
