"""Downloads base models from the Hugging Face hub, each once, and keeps them.

| the hub says                                       | who must act                        |
|----------------------------------------------------|-------------------------------------|
| no such repository or revision, or not a name      | the author                          |
| nothing: this machine is offline (HF_HUB_OFFLINE)  | the author: the base must be here   |
| gated, forbidden, or a wrong token                 | the operator: HF_TOKEN              |
| anything else: no answer, 429, 5xx, a full disk    | nobody: worth another try           |
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from engine.artifact import Adapter, AdapterConfig, called_by_name
from engine.file_lock import locked
from engine.file_rules import MODEL_CODE, ListedFile, refuse_unsafe
from engine.options import OnProgress
from schemas.errors import ArtifactError, ConfigurationError, PlatformError, WeighbridgeError
from schemas.settings import Settings

_READ = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt"})
_MAIN = "main"
_TRANSFERS = 8
# Seconds: the hub's client would wait for its list of files for ever.
_ANSWER_TIMEOUT = 30.0
_GIB = 2**30
_MB = 10**6


def kept_as(config: AdapterConfig) -> str:
    """Name the folder below ``models_dir`` that has an adapter's base, and no other revision.

    Returns:
        ``ORG/NAME`` for the main branch, else ``ORG/NAME@REVISION``, as ``a/b@refs%2Fpr%2F1``.
    """
    name, revision = config.base_model_name_or_path, config.revision or _MAIN
    # The author chose the revision: quoted, it cannot lead to another folder.
    return name if revision == _MAIN else f"{name}@{quote(revision, safe='')}"


def download(
    adapter: Adapter,
    settings: Settings,
    *,
    accept: Callable[[Path], object],
    trust_remote_code: bool,
    on_progress: OnProgress,
) -> Path:
    """Download an adapter's base, unless another process did so meanwhile.

    The files are judged by the repository's list before any is fetched. What was fetched when a
    download is cut stays, and is not fetched again.

    Args:
        adapter: The adapter that names the base.
        settings: Where bases are kept, and how large one may be.
        accept: Looks at the complete files; what it refuses is not kept.
        trust_remote_code: Fetch model code, too.
        on_progress: Hears that a download starts, or is waited for.

    Returns:
        The folder the base is kept in.

    Raises:
        ArtifactError: The hub has no such base, or its files are refused.
        ConfigurationError: The hub does not let us have it.
        PlatformError: The hub did not answer, or the disk is full.
    """
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = kept_as(adapter.config)
    folder = settings.models_dir / name
    with _blamed(adapter, settings):
        validate_repo_id(adapter.config.base_model_name_or_path)  # before it becomes a path
        # No repository's name has "--" in it.
        unfinished = settings.models_dir / ".unfinished" / name.replace("/", "--")
        unfinished.mkdir(parents=True, exist_ok=True)
    waiting = f"waiting for another process to download {name}"
    with locked(unfinished / "lock", on_progress=on_progress, waiting=waiting):
        if not (folder / "config.json").is_file():
            fetched = _fetched(adapter, settings, unfinished, trust_remote_code, on_progress)
            with called_by_name(fetched, name):
                accept(fetched)
            with _blamed(adapter, settings):
                _keep(fetched, folder)
    return folder


def _fetched(
    adapter: Adapter,
    settings: Settings,
    unfinished: Path,
    trust_remote_code: bool,
    on_progress: OnProgress,
) -> Path:
    name = kept_as(adapter.config)
    with _blamed(adapter, settings):
        commit, files = _listed(adapter.config, trust_remote_code)
    refuse_unsafe(
        files,
        name,
        max_bytes=round(settings.max_version_gib * _GIB),
        trust_remote_code=trust_remote_code,
    )
    on_progress(f"downloading {name} from the hub, {sum(file.size for file in files) / _MB:.0f} MB")
    # A folder for each commit: where the hub does not answer for a file, its client takes the one
    # that lies there, of whatever commit it is.
    folder = unfinished / f"commit-{quote(commit, safe='')}"
    with _blamed(adapter, settings):
        _fetch(adapter.config.base_model_name_or_path, commit, files, folder)
    return folder


def _listed(config: AdapterConfig, trust_remote_code: bool) -> tuple[str, list[ListedFile]]:
    """The commit that the revision is now, and those of its files that are read."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(
        config.base_model_name_or_path,
        revision=config.revision or _MAIN,
        files_metadata=True,
        timeout=_ANSWER_TIMEOUT,
    )
    read = _READ | MODEL_CODE if trust_remote_code else _READ
    files = [
        ListedFile(path=file.rfilename, size=file.size or 0)
        for file in info.siblings or []
        if Path(file.rfilename).suffix in read
    ]
    return str(info.sha), files


def _fetch(name: str, commit: str, files: Sequence[ListedFile], folder: Path) -> None:
    """Fetch exactly the files that were judged."""
    from huggingface_hub import hf_hub_download

    def fetch(file: ListedFile) -> None:
        hf_hub_download(name, file.path, revision=commit, local_dir=folder)

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        list(pool.map(fetch, files))


def _keep(fetched: Path, folder: Path) -> None:
    shutil.rmtree(fetched / ".cache", ignore_errors=True)  # the hub's client's own notes
    folder.parent.mkdir(parents=True, exist_ok=True)
    fetched.rename(folder)
    for outdated in fetched.parent.glob("commit-*"):
        shutil.rmtree(outdated, ignore_errors=True)


@contextmanager
def _blamed(adapter: Adapter, settings: Settings) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's client raises its own, its transport's and OS errors
        raise _blame(error, adapter, settings.models_dir) from error


def _blame(error: Exception, adapter: Adapter, models_dir: Path) -> WeighbridgeError:
    """Say who must act; the table is at the top."""
    from huggingface_hub import errors

    # Of a file, the client says that it is not here, either; the cause is what the hub said.
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    base, reason = f"The base model {kept_as(adapter.config)} of {adapter.folder}", _reason(error)
    if _is_forbidden(error):
        return ConfigurationError(
            f"{base} is not open to this worker: {reason}.",
            fix="Accept its terms on the hub, and set HF_TOKEN to a token that may read it.",
        )
    absent = (
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
        errors.DisabledRepoError,
        errors.HFValidationError,
        errors.OfflineModeIsEnabled,
    )
    if isinstance(error, absent):
        return ArtifactError(
            f"{base} is not below {models_dir}, and the hub did not give it ({reason}).",
            fix="Put it into the folder WEIGHBRIDGE_MODELS_DIR, under that name;"
            " for a private one, set HF_TOKEN.",
        )
    return PlatformError(
        f"{base} could not be downloaded from the hub: {reason}.",
        fix="Try again; without a hub, put it into the folder WEIGHBRIDGE_MODELS_DIR.",
    )


def _is_forbidden(error: Exception) -> bool:
    from huggingface_hub import errors

    # A repository that does not exist is a 401, too, unless a token is sent; a disabled one a 403.
    if isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError):
        return isinstance(error, errors.GatedRepoError)
    return isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
    )


def _reason(error: Exception) -> str:
    """The error's kind and its first line; what follows are hints to users of the client."""
    first = next(iter(str(error).strip().splitlines()), "")
    return ": ".join(filter(None, [type(error).__name__, first.rstrip(".")]))
