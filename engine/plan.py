"""Plans how to serve a version on this machine: the method, the command line, the identity."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from typing import Self

from engine import checkpoint
from engine.adapter_fit import check_fits
from engine.command import flags, program
from engine.options import ServeOptions
from engine.serving_method import Machine, ServingMethod, choose_method
from engine.version import Version
from schemas.errors import ConfigurationError
from schemas.settings import Settings

_DTYPES = ("auto", "bfloat16", "float16", "float32")
# Settings that the engine receives in its environment.
_ENVIRONMENT_SETTINGS = {"kv_cache_gib", "compile_cache_dir"}


@dataclass(frozen=True)
class Plan:
    """How one version is served.

    Attributes:
        version: The version.
        options: The options of its gate and ChatModel.
        method: How it is loaded into an engine.
        command: The command line of an engine for it.
        identity: Digest of everything that cannot be exchanged while that engine runs: the model's
            architecture, the arguments, the devices.
    """

    version: Version
    options: ServeOptions
    method: ServingMethod
    command: list[str]
    identity: str

    @property
    def loaded(self) -> str:
        """Digest of what an engine has loaded when it serves this version."""
        if self.method is ServingMethod.TRANSFORMERS:
            parts = f"{self.version.digest} {self.options.dtype} {self.options.trust_remote_code}"
            return hashlib.sha256(parts.encode()).hexdigest()
        return self.version.digest

    @classmethod
    def make(cls, version: Version, options: ServeOptions, settings: Settings) -> Self:
        """Plan how a version is served.

        Raises:
            ArtifactError: The adapter does not fit its base, or there is no tokenizer or chat
                template.
            ConfigurationError: This machine cannot do what the gate requires.
        """
        machine = Machine.current()
        options = replace(options, dtype=_explicit_dtype(options.dtype, version))
        method = choose_method(version, options, settings, machine)
        if version.adapter and method is not ServingMethod.TRANSFORMERS:
            check_fits(version.adapter, version.base)
        _ = version.chat_template  # raises before an engine is started in vain
        arguments = flags(method, options, settings, machine)
        return cls(
            version=version,
            options=options,
            method=method,
            command=[*program(method, version), *arguments],
            identity=_identity(version, method, options, arguments, settings),
        )


def _explicit_dtype(requested: str | None, version: Version) -> str | None:
    """The requested type of the weights; None if it is the checkpoint's own."""
    name = requested.removeprefix("torch.") if requested else "auto"
    if name not in _DTYPES:
        raise ConfigurationError(
            f"The chat model has the unknown dtype {requested}.",
            fix=f"Set dtype under chat_model in the gate to one of {', '.join(_DTYPES)}.",
        )
    return None if name in ("auto", checkpoint.dtype(version.base.folder)) else name


def _identity(
    version: Version,
    method: ServingMethod,
    options: ServeOptions,
    arguments: list[str],
    settings: Settings,
) -> str:
    parts = {
        "arguments": arguments,
        "settings": settings.model_dump_json(include=_ENVIRONMENT_SETTINGS),
        "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "model": _model(version, method, options),
        "code": checkpoint.code(version.base.folder) if options.trust_remote_code else None,
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _model(version: Version, method: ServingMethod, options: ServeOptions) -> str:
    """The part of the model that an engine cannot exchange."""
    if method is ServingMethod.TRANSFORMERS:
        return "any"
    if options.quantize:
        return version.base_digest  # nothing is exchanged in place
    return checkpoint.identity(version.base.folder, version.tokenizer)
