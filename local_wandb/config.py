"""The configuration of a local W&B."""

import ipaddress
import os
import secrets
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    field_validator,
    model_validator,
)

#: The names in the W&B tutorial that this project automates.
ENTITY = "wandb-smle"
ORGANISATION = "wandb32"
PROJECT = "weave-cookboook-demo"


class Webhook(BaseModel):
    """A webhook integration, and whether every linked version is reported to it.

    Attributes:
        url: Receives the POST requests.
        name: The integration's name, by which automations refer to it.
        token: Sent as ``Authorization: Bearer``, if given.
        secret: Signs the body in ``X-Wandb-Signature``, if given.
        registry: The full name of the one registry to report, such as ``wandb-registry-Models``;
            None reports all.
        automation: Whether every version linked into a registry is reported from the start. If
            False, only the automations that clients create send anything.
        drop_deliveries: Numbers, from 1, of deliveries to leave out on purpose, because W&B "can
            delay or skip repeated triggers" (docs/upstream/wandb-webhooks.md, "Delivery").
        double_deliveries: Numbers of deliveries to make twice, because on W&B automations at
            several scopes fire for one event.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: HttpUrl
    name: str = "weighbridge"
    token: SecretStr | None = None
    secret: SecretStr | None = None
    registry: str | None = None
    automation: bool = True
    drop_deliveries: frozenset[int] = frozenset()
    double_deliveries: frozenset[int] = frozenset()


class LocalWandbConfig(BaseModel):
    """The options of a local W&B.

    Attributes:
        data_dir: The folder for all its data; created if missing.
        host: The address to listen on; any other than loopback needs ``allow_remote``.
        port: The port to listen on; 0 chooses a free one.
        allow_remote: Listen beyond this machine, although the traffic is not encrypted.
        entity: The name of the team.
        org: The name of the organisation, and of the entity that owns its registries.
        project: The default project of clients that name none.
        api_key: The key that clients must send; without one, ``data_dir/api-key`` is created.
        webhook: The receiver of automations, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    allow_remote: bool = False
    entity: str = ENTITY
    org: str = ORGANISATION
    project: str = PROJECT
    api_key: SecretStr | None = None
    webhook: Webhook | None = None

    @field_validator("data_dir")
    @classmethod
    def _make_absolute(cls, folder: Path) -> Path:
        return folder.absolute()

    @model_validator(mode="after")
    def _require_loopback(self) -> "LocalWandbConfig":
        if not (self.allow_remote or is_loopback(self.host)):
            raise ValueError(
                f"host {self.host} can be reached from other machines; allow_remote permits it"
            )
        return self

    def key(self) -> str:
        """Return the API key; if none was given, create one and save it for the next start."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        # 40 characters, because the SDK refuses shorter keys (docs/upstream/wandb-protocol.md,
        # "API key").
        return load_or_create_secret(self.data_dir / "api-key", length=20)


def is_loopback(host: str) -> bool:
    """Return whether an address is reachable from this machine only.

    Args:
        host: A host name or an IP address.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_or_create_secret(path: Path, length: int) -> str:
    """Return the random secret in a file that only its owner can read; the first call creates it.

    Args:
        length: Bytes of randomness; the text has twice as many hexadecimal digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(length))
    return path.read_text()
