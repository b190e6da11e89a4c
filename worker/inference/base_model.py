"""Finds the base model that an adapter was trained on."""

from pathlib import Path

from schemas.errors import ArtifactError, ConfigurationError
from worker.inference.artifact import Adapter, Checkpoint, open_version
from worker.inference.options import FetchBase


def base_of(
    adapter: Adapter,
    models_dir: Path,
    *,
    fetch_base: FetchBase | None = None,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Find an adapter's base model by what ``base_model_name_or_path`` says.

    | it says                                                | the base is                     |
    |--------------------------------------------------------|---------------------------------|
    | ``[wandb-artifact:///]ENTITY/PROJECT/NAME:VERSION``    | downloaded from W&B             |
    | a path that exists on this machine                     | read where it lies              |
    | ``ORG/NAME``, a folder below ``models_dir``            | read there                      |
    | ``ORG/NAME``                                           | downloaded from the hub, kept   |

    Args:
        adapter: The adapter that names the base.
        models_dir: Folder with one folder per hub id; a download is kept there.
        fetch_base: Downloads a base from W&B.
        trust_remote_code: Accept a base that brings code.

    Returns:
        The base, checked like any other version.

    Raises:
        ArtifactError: The base is nowhere to be found, or is not a complete checkpoint.
        ConfigurationError: It is an artifact, and nothing here downloads artifacts.
    """
    name = adapter.config.base_model_name_or_path
    if _is_artifact(name):
        folder = _fetched(adapter, fetch_base)
    else:
        folder = _local(name, models_dir) or _from_hub(adapter, models_dir)
    base = open_version(folder, trust_remote_code=trust_remote_code)
    if isinstance(base, Adapter):
        raise ArtifactError(
            f"{adapter.folder} was trained on {name}, which is an adapter itself.",
            fix="Merge the first adapter into its base and train on the result.",
        )
    return base


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


def _local(name: str, models_dir: Path) -> Path | None:
    # An absolute name replaces models_dir; a relative one must stay below it.
    folder = (models_dir / name).resolve()
    allowed = Path(name).is_absolute() or folder.is_relative_to(models_dir.resolve())
    return folder if allowed and (folder / "config.json").is_file() else None


def _from_hub(adapter: Adapter, models_dir: Path) -> Path:
    from huggingface_hub import snapshot_download

    name = adapter.config.base_model_name_or_path
    unfinished = models_dir / ".unfinished" / name
    try:
        snapshot_download(
            name,
            revision=adapter.config.revision,
            local_dir=unfinished,
            allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"],
        )
    except Exception as error:  # the hub's client raises its own, its transport's and OS errors
        raise ArtifactError(
            f"The base model {name} of {adapter.folder} is not below {models_dir}, "
            f"and the hub did not give it ({type(error).__name__}).",
            fix="Put it into the folder WEIGHBRIDGE_MODELS_DIR, under that name.",
        ) from error
    folder = models_dir / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    return unfinished.rename(folder)
