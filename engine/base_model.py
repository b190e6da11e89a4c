"""Finds the base model of an adapter."""

from pathlib import Path

from engine import hub
from engine.artifact import Adapter, AdapterConfig, Checkpoint, open_version
from engine.options import FetchBase, OnProgress, ignore_progress
from schemas.errors import ArtifactError, ConfigurationError
from schemas.settings import Settings


def base_of(
    adapter: Adapter,
    settings: Settings,
    *,
    fetch_base: FetchBase | None = None,
    trust_remote_code: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Checkpoint:
    """Find an adapter's base model by its ``base_model_name_or_path``.

    | base_model_name_or_path                                | the base is                         |
    |--------------------------------------------------------|-------------------------------------|
    | ``[wandb-artifact:///]ENTITY/PROJECT/NAME:VERSION``    | downloaded from W&B                 |
    | a path that exists on this machine                     | read from there                     |
    | ``ORG/NAME``, a folder below ``models_dir``            | read from there                     |
    | ``ORG/NAME``                                           | downloaded from the hub to that dir |

    A base of a revision other than main has the folder ``ORG/NAME@REVISION``.

    Args:
        adapter: The adapter.
        settings: The folder of base models and the size limit.
        fetch_base: Downloads a base from W&B.
        trust_remote_code: Accept a base with code.
        on_progress: Receives the progress of a download from the hub.

    Returns:
        The base, checked like any other version.

    Raises:
        ArtifactError: The base was not found or is not a complete checkpoint.
        ConfigurationError: The base is an artifact and there is no ``fetch_base``; its folder on
            this machine is refused; or the hub denies access.
        PlatformError: The hub did not answer, or the disk is full.
    """
    if _is_artifact(adapter.config.base_model_name_or_path):
        folder = _fetched(adapter, fetch_base)
        return _complete(adapter, open_version(folder, trust_remote_code=trust_remote_code))

    def check(folder: Path) -> None:
        _complete(adapter, open_version(folder, trust_remote_code=trust_remote_code))

    folder = _local(adapter.config, settings.models_dir) or hub.download(
        adapter,
        settings,
        check=check,
        trust_remote_code=trust_remote_code,
        on_progress=on_progress,
    )
    return _complete(adapter, _open_local(folder, trust_remote_code))


def _is_artifact(name: str) -> bool:
    return name.startswith("wandb-artifact:") or (name.count("/") == 2 and ":" in name)


def _fetched(adapter: Adapter, fetch_base: FetchBase | None) -> Path:
    name = adapter.config.base_model_name_or_path
    if fetch_base is None:
        raise ConfigurationError(
            f"{adapter.folder} has the artifact {name} as base, which cannot be downloaded here.",
            fix="Pass fetch_base to Engine.serve.",
        )
    return fetch_base(name)


def _local(config: AdapterConfig, models_dir: Path) -> Path | None:
    path = Path(config.base_model_name_or_path)
    if path.is_absolute():
        folder = path.resolve()
    else:
        folder = (models_dir / hub.base_folder_name(config)).resolve()
        if not folder.is_relative_to(models_dir.resolve()):
            return None
    return folder if (folder / "config.json").is_file() else None


def _open_local(folder: Path, trust_remote_code: bool) -> Adapter | Checkpoint:
    try:
        return open_version(folder, trust_remote_code=trust_remote_code)
    except ArtifactError as error:
        # The operator put it there, so the adapter's author cannot fix it.
        raise ConfigurationError(
            f"The base model in {folder} is refused: {error.message}",
            fix="Keep only safetensors, JSON and text files there, and no links (`cp -rL`); code"
            " requires a gate with trust_remote_code.",
        ) from error


def _complete(adapter: Adapter, base: Adapter | Checkpoint) -> Checkpoint:
    if isinstance(base, Adapter):
        raise ArtifactError(
            f"{adapter.folder} was trained on {adapter.config.base_model_name_or_path},"
            " which is an adapter itself.",
            fix="Merge the first adapter into its base and train on the result.",
        )
    return base
