"""The environment variables with which a process talks to a local W&B."""

from pathlib import Path

from local_wandb.config import LocalWandbConfig


def client_environment(config: LocalWandbConfig, url: str, folder: Path) -> dict[str, str]:
    """Return the environment variables of wandb and weave for one client.

    Args:
        folder: The client's own files; created if missing. Each server needs a folder of its own,
            because the SDKs' caches do not tell servers apart (docs/upstream/wandb-protocol.md,
            "Client environment", and docs/upstream/weave-protocol.md, "Client cache").

    Returns:
        The value of each variable, by name.
    """
    folder.mkdir(parents=True, exist_ok=True)  # otherwise wandb uses a temporary folder
    return {
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": config.key(),
        "WANDB_ENTITY": config.entity,
        "WANDB_PROJECT": config.project,
        "WANDB_DIR": str(folder),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_ARTIFACT_DIR": str(folder / "artifacts"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_CONFIG_DIR": str(folder / "config"),
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WEAVE_SERVER_CACHE_DIR": str(folder / "weave-cache"),
        "WEAVE_PRINT_CALL_LINK": "false",
        "WEAVE_LOG_LEVEL": "WARNING",
    }
