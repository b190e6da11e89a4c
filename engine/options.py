"""Options of serving a version: those of its gate and its published ChatModel, and callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OnProgress = Callable[[str], None]
"""Receives a line about the progress of a long step."""

FetchBase = Callable[[str], Path]
"""Downloads a base model, given its artifact reference (``wandb-artifact:///...`` or
``entity/project/name:version``), and returns its folder."""


def ignore_progress(_line: str) -> None:
    """An ``OnProgress`` that does nothing."""


@dataclass(frozen=True)
class ServeOptions:
    """How a version is served.

    Attributes:
        quantize: Quantize the weights to 4 bits when they are loaded (``cm_quantize``).
        dtype: Type of the weights, such as "bfloat16"; None means the checkpoint's own.
        trust_remote_code: Allow the version's own code to run (``trust_remote_code`` of the gate).
        concurrent: Serve an adapter side by side with others, if the engine supports that.
    """

    quantize: bool = False
    dtype: str | None = None
    trust_remote_code: bool = False
    concurrent: bool = False
