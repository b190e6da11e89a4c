"""What it takes to serve a version on this machine."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import Self

from engine import checkpoint
from engine.choice import Machine, ServingMethod, choose
from engine.command import flags, program
from engine.merge import check_fits
from engine.options import ServeOptions
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings

_DTYPES = ("auto", "bfloat16", "float16", "float32")
# Settings that reach the engine through its environment.
_OF_THE_ENGINE = {"kv_cache_gib", "compile_cache_dir"}


@dataclass(frozen=True)
class Plan:
    """How one version is served.

    Attributes:
        version: The version.
        options: What its gate and ChatModel ask for.
        way: How it gets into an engine.
        command: The engine's command line, should one have to be started.
        identity: Names everything about that engine which cannot be exchanged while it runs: the
            model's architecture, the arguments, the devices.
    """

    version: Version
    options: ServeOptions
    way: ServingMethod
    command: list[str]
    identity: str

    @property
    def loaded(self) -> str:
        """What an engine that serves this has loaded, and with which options."""
        if self.way is ServingMethod.TRANSFORMERS:
            asked = f"{self.version.digest} {self.options.dtype} {self.options.trust_remote_code}"
            return hashlib.sha256(asked.encode()).hexdigest()
        return self.version.digest

    @classmethod
    def make(cls, version: Version, options: ServeOptions, settings: Settings) -> Self:
        """Plan how a version is served.

        Raises:
            ArtifactError: The version cannot be served: an adapter does not fit its base, there is
                no tokenizer or no chat template.
            ConfigurationError: The gate asks for what this machine cannot do.
        """
        machine = Machine.this()
        options = replace(options, dtype=_other_dtype(options.dtype, version))
        way = choose(version, options, settings, machine)
        if version.adapter and way is not ServingMethod.TRANSFORMERS:
            check_fits(version.adapter, version.base)
        _ = version.chat_template  # before an engine is started in vain
        arguments = flags(way, options, settings, machine)
        return cls(
            version=version,
            options=options,
            way=way,
            command=[*program(way, version), *arguments],
            identity=_identity(version, way, options, arguments, settings),
        )


def _other_dtype(asked: str | None, version: Version) -> str | None:
    """The type of weights that is asked for, if it is not the checkpoint's own."""
    name = asked.removeprefix("torch.") if asked else "auto"
    if name not in _DTYPES:
        raise ConfigurationError(
            f"The chat model asks for the dtype {asked}.",
            fix=f"Set dtype under chat_model in the gate to one of {', '.join(_DTYPES)}.",
        )
    return None if name in ("auto", checkpoint.dtype(version.base.folder)) else name


def _identity(
    version: Version,
    way: ServingMethod,
    options: ServeOptions,
    arguments: list[str],
    settings: Settings,
) -> str:
    parts = {
        "arguments": arguments,
        "settings": settings.model_dump_json(include=_OF_THE_ENGINE),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "model": _model(version, way, options),
        "code": checkpoint.code(version.base.folder) if options.trust_remote_code else None,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _model(version: Version, way: ServingMethod, options: ServeOptions) -> str:
    """What of the model an engine is bound to."""
    if way is ServingMethod.TRANSFORMERS:
        return "any"
    if options.quantize:
        return version.base_digest  # nothing is exchanged in place
    return checkpoint.identity(version.base.folder, version.tokenizer)
