"""Finds the base model that an adapter was trained on."""

from pathlib import Path

from schemas.errors import ArtifactError
from worker.inference.artifact import Adapter, Checkpoint, open_version


def base_of(adapter: Adapter, models_dir: Path) -> Checkpoint:
    """Find an adapter's base model: in the folder of local models, else on the hub.

    Args:
        adapter: The adapter that names the base.
        models_dir: Folder with one folder per hub id; a download is kept there.

    Returns:
        The base, checked like any other version.

    Raises:
        ArtifactError: The base is nowhere to be found, or is not a complete checkpoint.
    """
    name = adapter.config.base_model_name_or_path
    base = open_version(_local(name, models_dir) or _from_hub(adapter, models_dir))
    if isinstance(base, Adapter):
        raise ArtifactError(
            f"{adapter.folder} was trained on {name}, which is an adapter itself.",
            fix="Merge the first adapter into its base and train on the result.",
        )
    return base


def _local(name: str, models_dir: Path) -> Path | None:
    folder = (models_dir / name).resolve()
    inside = folder.is_relative_to(models_dir.resolve())
    return folder if inside and (folder / "config.json").is_file() else None


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
