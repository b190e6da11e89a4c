"""Authentication of deliveries: the bearer token, and the signature of the body."""

import base64
import hmac
from typing import Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.errors import ConfigurationError
from schemas.settings import Settings

log = structlog.get_logger()


class Credentials(BaseModel):
    """The bearer token and the signing secret; None if the check is disabled."""

    model_config = ConfigDict(frozen=True)

    token: SecretStr | None = Field(min_length=1)
    secret: SecretStr | None = Field(min_length=1)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read them from the settings.

        Raises:
            ConfigurationError: A check is enabled, but its variable is not set.
        """
        checks = settings.webhook_checks
        if len(checks) < 2:
            log.warning("webhook authentication check disabled", enabled=",".join(sorted(checks)))
        return cls(
            token=_required(settings.webhook_token, "TOKEN") if "token" in checks else None,
            secret=_required(settings.webhook_secret, "SECRET") if "signature" in checks else None,
        )

    def has_token(self, authorization: bytes) -> bool:
        """Whether the ``Authorization`` header has the token; compared in constant time."""
        if self.token is None:
            return True
        expected = f"Bearer {self.token.get_secret_value()}"
        return hmac.compare_digest(authorization, expected.encode())

    def has_signature(self, body: bytes, signature: bytes) -> bool:
        """Whether ``X-Wandb-Signature`` is the HMAC-SHA256 of the body.

        W&B documents Base64, but other receivers expect hexadecimal, so both are accepted.
        """
        if self.secret is None:
            return True
        digest = hmac.digest(self.secret.get_secret_value().encode(), body, "sha256")
        is_base64 = hmac.compare_digest(signature, base64.b64encode(digest))
        return is_base64 or hmac.compare_digest(signature.lower(), digest.hex().encode())


def _required(value: SecretStr | None, name: str) -> SecretStr:
    if not value:
        raise ConfigurationError(
            f"The webhook receiver has no {name.lower()}.",
            fix=f"Set WEIGHBRIDGE_WEBHOOK_{name} to the W&B automation's {name.lower()}, or remove"
            " its check from WEIGHBRIDGE_WEBHOOK_CHECKS.",
        )
    return value
