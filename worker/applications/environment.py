"""The variables that reach an application's process: what it needs, and none of the secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from schemas.applications import Application

# How to find programs, how to write text and dates, and the way to W&B.
_PASSED = frozenset(
    {
        *("PATH", "LANG", "LANGUAGE", "TZ"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    }
)
_PASSED_PREFIXES = ("LC_", "WANDB_", "WEAVE_", "WF_")
_LOCAL = "127.0.0.1,localhost"  # the gateway is not behind a proxy


class Door(NamedTuple):
    """How the application reaches the version.

    Attributes:
        url: The gateway's URL, which ends in ``/v1``.
        token: The gateway's token.
    """

    url: str
    token: str


def application_environment(
    application: Application,
    door: Door,
    folder: Path,
    wandb_key: str,
    source: Mapping[str, str],
) -> dict[str, str]:
    """Return the whole environment of an application's process.

    Its caches are its own: what it writes there is not what a worker reads later.

    Args:
        application: Names the variables that it gets in addition.
        door: How it reaches the version.
        folder: The process's own folder.
        wandb_key: The W&B key that it writes its traces with.
        source: The worker's own environment.
    """
    passed = {
        name: value
        for name, value in source.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    no_proxy = ",".join(filter(None, [passed.get("no_proxy") or passed.get("NO_PROXY"), _LOCAL]))
    named = {name: source[name] for name in application.environment if name in source}
    return (
        {"LANG": "C.UTF-8"}
        | passed
        | {"no_proxy": no_proxy, "NO_PROXY": no_proxy}
        | _folders(folder)
        | named
        | {
            "WANDB_API_KEY": wandb_key,
            "OPENAI_BASE_URL": door.url,
            "OPENAI_API_KEY": door.token,
        }
    )


def _folders(folder: Path) -> dict[str, str]:
    names = {
        "HOME": "home",
        "TMPDIR": "tmp",
        "WANDB_DIR": "wandb",
        "WANDB_CACHE_DIR": "wandb/cache",
        "WANDB_ARTIFACT_DIR": "wandb/artifacts",
        "WANDB_DATA_DIR": "wandb/data",
        "WANDB_CONFIG_DIR": "wandb/config",
        "WEAVE_SERVER_CACHE_DIR": "weave",
    }
    for name in names.values():
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {variable: str(folder / name) for variable, name in names.items()}
