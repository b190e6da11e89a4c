"""How a local W&B is started."""

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

#: The names of the tutorial that this project automates.
ENTITY = "wandb-smle"
ORGANISATION = "wandb32"
PROJECT = "weave-cookboook-demo"


class Webhook(BaseModel):
    """A webhook integration, and the automation that announces linked versions to it.

    Args:
        url: receives the POST.
        name: of the integration, as automations that clients make know it.
        token: sent as `Authorization: Bearer`, when given.
        secret: signs the body in `X-Wandb-Signature`, when given.
        registry: name of the one registry that is announced, with its prefix, as an automation
            of W&B has its scope; None announces all.
        automation: announce every version that is linked into a registry from the start; off,
            only the automations that clients make send anything.
        drop_deliveries: numbers, from 1, of deliveries that are left out on purpose: W&B "can
            delay or skip repeated triggers" (docs/upstream/wandb-webhooks.md, "Delivery"), and so
            can this one.
        double_deliveries: numbers of deliveries that are made twice, because automations at several
            scopes fire for one event.
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
    """Everything that a local W&B is told.

    Args:
        data_dir: holds all that it keeps; made when missing.
        host: address to listen on; anything but this machine needs `allow_remote`.
        port: to listen on; 0 takes any free one.
        allow_remote: listen beyond this machine, although the traffic is not encrypted.
        entity: name of the team.
        org: name of the organisation, whose registries have the same entity name.
        project: suggested to clients that name none.
        api_key: that clients must send; without one, `data_dir/api-key` is made and used.
        webhook: where automations send to.
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
    def _holds_wherever_a_client_runs(cls, folder: Path) -> Path:
        return folder.absolute()

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> "LocalWandbConfig":
        if not (self.allow_remote or is_loopback(self.host)):
            raise ValueError(
                f"host {self.host} can be reached from other machines; allow_remote permits it"
            )
        return self

    def key(self) -> str:
        """The API key; made, and kept for the next start, when none was given."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        # 40 characters, because the SDK refuses shorter keys (docs/upstream/wandb-protocol.md,
        # "API key").
        return kept_secret(self.data_dir / "api-key", length=20)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only.

    Args:
        host: a name or an IP address.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def kept_secret(path: Path, length: int) -> str:
    """A random secret in a file that only its owner can read; made on the first call.

    Args:
        path: of the file.
        length: bytes of randomness; the text has twice as many hexadecimal digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(length))
    return path.read_text()
