"""How one team's application is run under its evaluation: a gate's ``application`` and ``columns``.

A gate without ``application`` runs the RagModel that comes with Weighbridge.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

_Module = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
_Variable = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
# One word, as in ``pipeline.llm.model`` or ``judges.0.model``.
_Path = Annotated[str, Field(pattern=r"^[^\s.]+(\.[^\s.]+)*$")]

# What the process gets from the worker itself (docs/applications.md).
_RESERVED = frozenset({"OPENAI_BASE_URL", "OPENAI_API_KEY", "CELERY_BROKER_URL", "WANDB_API_KEY"})


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelEndpoint(_Strict):
    """Another model that the application or its scorers query, such as a judge.

    Attributes:
        base_url: The endpoint, as ``https://host/v1``.
        key_variable: The worker's variable that holds the endpoint's API key, which the application
            never sees; None if the endpoint needs no key.
        model: The model's name at the endpoint; None if it is the name that the application uses.
        retries: How often a request is repeated after 429, 5xx or a broken connection.
        max_concurrency: How many requests are sent at the same time; None means no limit.
    """

    base_url: HttpUrl
    # The author of a gate must not be able to make a worker send its other secrets.
    key_variable: str | None = Field(default=None, pattern=r"^WEIGHBRIDGE_MODEL_\w+$")
    model: str | None = Field(default=None, min_length=1)
    retries: int = Field(default=2, ge=0, strict=True)
    max_concurrency: int | None = Field(default=None, gt=0, strict=True)


class Application(_Strict):
    """The team's code, its environment, and what a new model version replaces in it.

    Attributes:
        modules: The modules that define its classes and scorers; ``import`` in the gate file.
        python: The interpreter of its environment; None for the worker's own.
        exchange: Dotted path to what a new version replaces, through fields, keys and positions.
        environment: The worker's variables that the process gets.
        models: The other models that it may query, by the name that it uses.
        timeout: Most seconds for one evaluation.
        memory_gib: Most memory of the process, in GiB; None means no limit.
    """

    modules: tuple[_Module, ...] = Field(alias="import", min_length=1)
    python: str | None = Field(default=None, min_length=1)
    exchange: _Path = "chat_model"
    environment: tuple[Annotated[_Variable, AfterValidator(lambda name: _allowed(name))], ...] = ()
    models: dict[str, ModelEndpoint] = Field(default_factory=dict)
    timeout: float = Field(default=3600, gt=0)
    memory_gib: float | None = Field(default=None, gt=0)

    # A record holds ``import``, as the gate file does.
    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Columns(_Strict):
    """Which columns and parts of the output the report and the tables show.

    A part of the output is a dotted path, such as ``output.content``. Where a name is absent,
    common names are tried.

    Attributes:
        input: Dataset column with the question.
        truth: Dataset column with the expected answer.
        answer: Part of the output with the answer.
        context: Part of the output with the retrieved passages.
        topic: Dataset column by which the report groups the rows.
    """

    input: _Path | None = None
    truth: _Path | None = None
    answer: _Path | None = None
    context: _Path | None = None
    topic: _Path | None = None


def is_absent(value: Any) -> bool:
    """Whether a key is left out of stored JSON, as if no version had it.

    The digest of a gate without the key stays what it was before there was one.
    """
    return value is None


def _allowed(name: str) -> str:
    if name in _RESERVED or name.startswith("WEIGHBRIDGE_"):
        raise ValueError(f"{name} is a secret or a setting of the worker; give it another name")
    return name
