"""How a version is to be served: what its gate and its published ChatModel ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OnProgress = Callable[[str], None]
"""Gets a line whenever there is something to tell about a long step."""

FetchBase = Callable[[str], Path]
"""Downloads a base model that an adapter names by an artifact reference
(``wandb-artifact:///...`` or ``entity/project/name:version``), and returns its folder."""


def ignore_progress(_line: str) -> None:
    """OnProgress nobody."""


@dataclass(frozen=True)
class ServeOptions:
    """What a gate and a ChatModel may ask of the engine.

    Attributes:
        quantize: The weights are quantised to 4 bits when they are loaded (``cm_quantize``).
        dtype: Type of the weights, as "bfloat16"; None is the checkpoint's own.
        trust_remote_code: Code that a version brings may run (``trust_remote_code`` of the gate).
        together: Other versions wait: serve an adapter beside them where the engine can.
    """

    quantize: bool = False
    dtype: str | None = None
    trust_remote_code: bool = False
    together: bool = False
