"""What a sender must prove: that it knows the token, and the secret that signs the body."""

import base64
import hmac
from typing import Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.errors import ConfigurationError
from schemas.settings import Settings

log = structlog.get_logger()


class Credentials(BaseModel):
    """The bearer token and the signing secret; None where a check is configured off."""

    model_config = ConfigDict(frozen=True)

    token: SecretStr | None = Field(min_length=1)
    secret: SecretStr | None = Field(min_length=1)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Take them from the settings.

        Raises:
            ConfigurationError: a check is on and its variable is not set.
        """
        checks = settings.webhook_checks
        if len(checks) < 2:
            log.warning("the receiver is open to more senders", checks=",".join(sorted(checks)))
        return cls(
            token=_needed(settings.webhook_token, "TOKEN") if "token" in checks else None,
            secret=_needed(settings.webhook_secret, "SECRET") if "signature" in checks else None,
        )

    def allow(self, authorization: bytes) -> bool:
        """Whether the `Authorization` header holds the token; compared in constant time."""
        if self.token is None:
            return True
        expected = f"Bearer {self.token.get_secret_value()}"
        return hmac.compare_digest(authorization, expected.encode())

    def signed(self, body: bytes, signature: bytes) -> bool:
        """Whether `X-Wandb-Signature` is the HMAC-SHA256 of the body.

        Base64 is documented; receivers in the wild use hexadecimal, so both are taken.
        """
        if self.secret is None:
            return True
        digest = hmac.digest(self.secret.get_secret_value().encode(), body, "sha256")
        is_base64 = hmac.compare_digest(signature, base64.b64encode(digest))
        return is_base64 or hmac.compare_digest(signature.lower(), digest.hex().encode())


def _needed(value: SecretStr | None, name: str) -> SecretStr:
    if not value:
        raise ConfigurationError(
            f"The webhook receiver has no {name.lower()}.",
            fix=f"Set WEIGHBRIDGE_WEBHOOK_{name} to what the W&B automation sends, or leave its"
            " check out of WEIGHBRIDGE_WEBHOOK_CHECKS.",
        )
    return value
