"""Every error Weighbridge raises on purpose, split by who must act.

    WeighbridgeError
    ├── ConfigurationError   the operator: a setting, a gate, a reference that does not exist
    ├── ArtifactError        the model author: a version that cannot be weighed
    ├── PlatformError        the platform: W&B, Redis or the engine; worth another try
    │   └── EvidenceError    an evaluation's evidence is incomplete or contradicts itself
    └── InternalError        us: a state that this code must never reach

A message is one sentence that names the thing and the reason, then the fix in the imperative.
"""


class WeighbridgeError(Exception):
    """Base of every error here.

    Args:
        message: One sentence with the thing and the reason.
        fix: What the reader can do about it; appended to the message.
    """

    retryable = False

    def __init__(self, message: str, *, fix: str = "") -> None:
        self.message = message
        self.fix = fix
        super().__init__(f"{message} {fix}".strip())


class ConfigurationError(WeighbridgeError, ValueError):
    """The operator must change a setting, a gate or a reference.

    It is also a ``ValueError``, so that a pydantic validator may raise it.
    """


class ArtifactError(WeighbridgeError):
    """The model author must push a different version."""


class PlatformError(WeighbridgeError):
    """W&B, Redis or the engine failed; the same weighing may be tried again."""

    retryable = True


class EvidenceError(PlatformError):
    """An evaluation's evidence is incomplete or contradicts itself: nothing is promoted on it."""


class InternalError(WeighbridgeError):
    """A bug in Weighbridge: please report it."""
