"""Finds the base model that an adapter was trained on."""

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
    """Find an adapter's base model by what ``base_model_name_or_path`` says.

    | it says                                                | the base is                     |
    |--------------------------------------------------------|---------------------------------|
    | ``[wandb-artifact:///]ENTITY/PROJECT/NAME:VERSION``    | downloaded from W&B             |
    | a path that exists on this machine                     | read where it lies              |
    | ``ORG/NAME``, a folder below ``models_dir``            | read there                      |
    | ``ORG/NAME``                                           | downloaded from the hub, kept   |

    A base of another revision than main lies in a folder of its own, ``ORG/NAME@REVISION``.

    Args:
        adapter: The adapter that names the base.
        settings: Where base models are kept, and how large one may be.
        fetch_base: Downloads a base from W&B.
        trust_remote_code: Accept a base that brings code.
        on_progress: Hears of a download from the hub.

    Returns:
        The base, checked like any other version.

    Raises:
        ArtifactError: The base is nowhere to be found, or is not a complete checkpoint.
        ConfigurationError: It is an artifact, and nothing here downloads artifacts; or its folder
            on this machine is refused; or the hub does not let us have it.
        PlatformError: The hub did not answer, or the disk is full.
    """
    if _is_artifact(adapter.config.base_model_name_or_path):
        folder = _fetched(adapter, fetch_base)
        return _complete(adapter, open_version(folder, trust_remote_code=trust_remote_code))

    def accept(folder: Path) -> None:
        _complete(adapter, open_version(folder, trust_remote_code=trust_remote_code))

    folder = _local(adapter.config, settings.models_dir) or hub.download(
        adapter,
        settings,
        accept=accept,
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
            f"{adapter.folder} was trained on the artifact {name}, which nothing here downloads.",
            fix="Pass fetch_base to Engine.serve.",
        )
    return fetch_base(name)


def _local(config: AdapterConfig, models_dir: Path) -> Path | None:
    path = Path(config.base_model_name_or_path)
    if path.is_absolute():
        folder = path.resolve()
    else:
        folder = (models_dir / hub.kept_as(config)).resolve()
        if not folder.is_relative_to(models_dir.resolve()):
            return None
    return folder if (folder / "config.json").is_file() else None


def _open_local(folder: Path, trust_remote_code: bool) -> Adapter | Checkpoint:
    try:
        return open_version(folder, trust_remote_code=trust_remote_code)
    except ArtifactError as error:
        # The operator put it there; the adapter's author cannot mend it.
        raise ConfigurationError(
            f"The base model in {folder} is refused: {error.message}",
            fix="Keep only what a model is read from there, safetensors, JSON and text files,"
            " and files instead of links (`cp -rL`); code takes a gate with trust_remote_code.",
        ) from error


def _complete(adapter: Adapter, base: Adapter | Checkpoint) -> Checkpoint:
    if isinstance(base, Adapter):
        raise ArtifactError(
            f"{adapter.folder} was trained on {adapter.config.base_model_name_or_path},"
            " which is an adapter itself.",
            fix="Merge the first adapter into its base and train on the result.",
        )
    return base
