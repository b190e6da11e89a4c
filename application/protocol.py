"""What the worker and the application process say to each other: one JSON object per line.

    worker                       application process
    Prepare(modules)         ->
                             <-  Ready(python, weave, packages)
    Evaluate(...)            ->
                             <-  Started(call, rows, trials)
                             <-  RowScored(scores), once per row
                             <-  BatchScored(rows), once per batch
    Continue or Stop         ->
                             <-  Done(call), or at any time Failed(kind, message, fix)

``Prepare`` may be left out; ``Evaluate`` is then answered by ``Ready``, too. ``Stop`` may come at
any time. After ``Done`` or ``Failed`` the process ends. It runs in a foreign interpreter, from
Python 3.10, with any pydantic 2.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.errors import (
    ArtifactError,
    ConfigurationError,
    EvidenceError,
    InternalError,
    PlatformError,
    WeighbridgeError,
)
from schemas.rows import Row

_ERRORS: dict[str, type[WeighbridgeError]] = {
    cls.__name__: cls
    for cls in (ConfigurationError, ArtifactError, PlatformError, EvidenceError, InternalError)
}


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Prepare(_Message):
    """Import modules now, so that an evaluation begins sooner.

    Attributes:
        modules: The modules that define the application's classes and scorers.
    """

    type: Literal["prepare"] = "prepare"
    modules: tuple[str, ...]


class Evaluate(_Message):
    """Run an evaluation of a model.

    Attributes:
        project: The calls go to this project, ``entity/project``.
        model: ``weave:///`` reference of the model, an object or an op.
        evaluation: ``weave:///`` reference of the Evaluation.
        run_id: Id of the W&B run that the calls belong to.
        run_step: The run's current step.
        concurrency: Rows that are evaluated at once.
        modules: The modules that define the application's classes and scorers.
        allow_stored_code: Whether code from the Weave server may run where the modules have none,
            or another.
        batch: Dataset rows per batch; None runs all rows in their own order, without batches.
        attributes: Further attributes of the calls, by name.
    """

    type: Literal["evaluate"] = "evaluate"
    project: str
    model: str
    evaluation: str
    run_id: str
    run_step: int
    concurrency: int
    modules: tuple[str, ...]
    allow_stored_code: bool = False
    batch: int | None = None
    attributes: dict[str, str] = {}


class Continue(_Message):
    """Evaluate the next batch."""

    type: Literal["continue"] = "continue"


class Stop(_Message):
    """Begin no further row; the evaluation ends normally with the rows that have begun."""

    type: Literal["stop"] = "stop"


class Ready(_Message):
    """The modules are imported.

    Attributes:
        python: Version of the interpreter.
        weave: Version of Weave.
        packages: Versions of all installed distributions, by name.
    """

    type: Literal["ready"] = "ready"
    python: str
    weave: str
    packages: dict[str, str]

    @property
    def environment(self) -> str:
        """SHA-256, in hexadecimal, of the interpreter's and all packages' versions."""
        versions = json.dumps([self.python, sorted(self.packages.items())])
        return hashlib.sha256(versions.encode()).hexdigest()


class Started(_Message):
    """The evaluation began.

    Attributes:
        call: Id of its root call.
        rows: Rows of the dataset.
        trials: Predictions per row.
    """

    type: Literal["started"] = "started"
    call: str
    rows: int
    trials: int


class RowScored(_Message):
    """A prediction has its scores.

    Attributes:
        scores: As in ``Row``, but also those that are not finite.
    """

    type: Literal["row_scored"] = "row_scored"
    scores: dict[str, bool | float]


class BatchScored(_Message):
    """A batch is evaluated. The process waits for ``Continue`` or ``Stop``.

    Attributes:
        rows: All predictions so far, without their calls and outputs.
    """

    type: Literal["batch_scored"] = "batch_scored"
    rows: tuple[Row, ...]


class Done(_Message):
    """The evaluation ended, and the trace server has all of its calls.

    Attributes:
        call: Id of its root call.
    """

    type: Literal["done"] = "done"
    call: str


class Failed(_Message):
    """The process cannot go on.

    Attributes:
        kind: Name of the error's class: one of ``schemas.errors``, or one of the application's.
        message: What went wrong.
        fix: What the reader can do about it; may be empty.
    """

    type: Literal["failed"] = "failed"
    kind: str
    message: str
    fix: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Failed":
        """Describe an error of ours, or one that the application raised."""
        if isinstance(error, WeighbridgeError):
            return cls(kind=type(error).__name__, message=error.message, fix=error.fix)
        kind = type(error).__name__
        text = " ".join(str(error).split())
        return cls(kind=kind, message=f"The application raised {kind}: {text}".rstrip(": ") + ".")

    def error(self) -> WeighbridgeError:
        """Return the error to raise in the worker.

        An error of the application's own may be transient, as when one of its services is away.
        """
        return _ERRORS.get(self.kind, PlatformError)(self.message, fix=self.fix)


ToApplication = Prepare | Evaluate | Continue | Stop
FromApplication = Ready | Started | RowScored | BatchScored | Done | Failed
_BY_TYPE = Field(discriminator="type")
_to_application: TypeAdapter[ToApplication] = TypeAdapter(Annotated[ToApplication, _BY_TYPE])
_from_application: TypeAdapter[FromApplication] = TypeAdapter(Annotated[FromApplication, _BY_TYPE])


def encode(message: BaseModel) -> bytes:
    """Return a message as one line.

    Python's own JSON writes and reads numbers that are not finite. A value that is no JSON, such
    as an image in a dataset, is replaced by its text.
    """
    return json.dumps(message.model_dump(), default=_text, skipkeys=True).encode() + b"\n"


def _text(value: Any) -> str:
    try:
        return repr(value)[:1000]
    except Exception:
        return f"<{type(value).__name__}>"


def to_application(line: bytes) -> ToApplication:
    """Read a message of the worker.

    Raises:
        ValueError: The line is no such message.
    """
    return _to_application.validate_python(json.loads(line))


def from_application(line: bytes) -> FromApplication:
    """Read a message of the application process, which may be hostile.

    Raises:
        ValueError: The line is no such message.
    """
    return _from_application.validate_python(json.loads(line))
