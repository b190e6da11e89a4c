"""Downloads base models from the Hugging Face hub, each one once.

| failure                                              | error                                    |
|------------------------------------------------------|------------------------------------------|
| no such repository or revision, or an invalid name   | ArtifactError: the author must act       |
| this machine is offline (HF_HUB_OFFLINE)             | ArtifactError: the base must be here     |
| gated, forbidden, or a wrong token                   | ConfigurationError: the operator's token |
| anything else: no answer, 429, 5xx, a full disk      | PlatformError: try again                 |
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from engine.artifact import Adapter, AdapterConfig, named_in_errors
from engine.file_lock import locked
from engine.file_rules import MODEL_CODE, ListedFile, refuse_unsafe
from engine.options import OnProgress
from schemas.errors import ArtifactError, ConfigurationError, PlatformError, WeighbridgeError
from schemas.settings import Settings

_READ = frozenset({".safetensors", ".json", ".jinja", ".model", ".txt"})
_MAIN = "main"
_TRANSFERS = 8
# Seconds. The hub's client has no timeout for the list of files.
_ANSWER_TIMEOUT = 30.0
_GIB = 2**30
_MB = 10**6


def base_folder_name(config: AdapterConfig) -> str:
    """The folder of an adapter's base, relative to ``models_dir``.

    Returns:
        ``ORG/NAME`` for the main branch, otherwise ``ORG/NAME@REVISION``, such as
        ``a/b@refs%2Fpr%2F1``.
    """
    name, revision = config.base_model_name_or_path, config.revision or _MAIN
    # The author chose the revision; when quoted, it cannot lead to another folder.
    return name if revision == _MAIN else f"{name}@{quote(revision, safe='')}"


def download(
    adapter: Adapter,
    settings: Settings,
    *,
    check: Callable[[Path], object],
    trust_remote_code: bool,
    on_progress: OnProgress,
) -> Path:
    """Download an adapter's base, unless another process has just done so.

    The repository's list of files is checked before any file is downloaded. After an interrupted
    download, complete files are not downloaded again.

    Args:
        adapter: The adapter.
        settings: The folder of base models and the size limit.
        check: Checks the downloaded files; if it raises, they are not moved to the folder.
        trust_remote_code: Download model code as well.
        on_progress: Receives that a download starts or that another process is downloading.

    Returns:
        The folder of the base.

    Raises:
        ArtifactError: The hub has no such base, or its files are refused.
        ConfigurationError: The hub denies access.
        PlatformError: The hub did not answer, or the disk is full.
    """
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = base_folder_name(adapter.config)
    folder = settings.models_dir / name
    with _translated(adapter, settings):
        validate_repo_id(adapter.config.base_model_name_or_path)  # before it becomes a path
        # Repository names never contain "--".
        unfinished = settings.models_dir / ".unfinished" / name.replace("/", "--")
        unfinished.mkdir(parents=True, exist_ok=True)
    waiting = f"waiting for another process to download {name}"
    with locked(unfinished / "lock", on_progress=on_progress, waiting=waiting):
        if not (folder / "config.json").is_file():
            fetched = _download_checked(
                adapter, settings, unfinished, trust_remote_code, on_progress
            )
            with named_in_errors(fetched, name):
                check(fetched)
            with _translated(adapter, settings):
                _move(fetched, folder)
    return folder


def _download_checked(
    adapter: Adapter,
    settings: Settings,
    unfinished: Path,
    trust_remote_code: bool,
    on_progress: OnProgress,
) -> Path:
    name = base_folder_name(adapter.config)
    with _translated(adapter, settings):
        commit, files = _list_files(adapter.config, trust_remote_code)
    refuse_unsafe(
        files,
        name,
        max_bytes=round(settings.max_version_gib * _GIB),
        trust_remote_code=trust_remote_code,
    )
    on_progress(f"downloading {name} from the hub, {sum(file.size for file in files) / _MB:.0f} MB")
    # One folder per commit: if the hub does not answer for a file, its client uses an existing one,
    # whatever its commit.
    folder = unfinished / f"commit-{quote(commit, safe='')}"
    with _translated(adapter, settings):
        _fetch(adapter.config.base_model_name_or_path, commit, files, folder)
    return folder


def _list_files(config: AdapterConfig, trust_remote_code: bool) -> tuple[str, list[ListedFile]]:
    """The revision's current commit, and the files in it that are needed."""
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
    """Download exactly the files that were checked."""
    from huggingface_hub import hf_hub_download

    def fetch(file: ListedFile) -> None:
        hf_hub_download(name, file.path, revision=commit, local_dir=folder)

    with ThreadPoolExecutor(_TRANSFERS) as pool:
        list(pool.map(fetch, files))


def _move(fetched: Path, folder: Path) -> None:
    shutil.rmtree(fetched / ".cache", ignore_errors=True)  # metadata of the hub's client
    folder.parent.mkdir(parents=True, exist_ok=True)
    fetched.rename(folder)
    for outdated in fetched.parent.glob("commit-*"):
        shutil.rmtree(outdated, ignore_errors=True)


@contextmanager
def _translated(adapter: Adapter, settings: Settings) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the hub's client raises its own, its transport's and OS errors
        raise _translate(error, adapter, settings.models_dir) from error


def _translate(error: Exception, adapter: Adapter, models_dir: Path) -> WeighbridgeError:
    """Translate an error by the table at the top."""
    from huggingface_hub import errors

    # For a file, the client reports that it is not in the cache; the cause is the hub's answer.
    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    base, reason = (
        f"The base model {base_folder_name(adapter.config)} of {adapter.folder}",
        _reason(error),
    )
    if _is_forbidden(error):
        return ConfigurationError(
            f"{base} is not accessible to this worker: {reason}.",
            fix="Accept its terms on the hub, and set HF_TOKEN to a token with access to it.",
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
            f"{base} is not below {models_dir}, and the hub does not have it ({reason}).",
            fix="Put it into the folder WEIGHBRIDGE_MODELS_DIR under that name;"
            " if it is private, set HF_TOKEN.",
        )
    return PlatformError(
        f"{base} could not be downloaded from the hub: {reason}.",
        fix="Try again; without a hub, put it into the folder WEIGHBRIDGE_MODELS_DIR.",
    )


def _is_forbidden(error: Exception) -> bool:
    from huggingface_hub import errors

    # Without a token, the hub answers 401 for a missing repository; for a disabled one, 403.
    if isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError):
        return isinstance(error, errors.GatedRepoError)
    return isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
    )


def _reason(error: Exception) -> str:
    """The error's type and first line; the other lines are hints for users of the client."""
    first = next(iter(str(error).strip().splitlines()), "")
    return ": ".join(filter(None, [type(error).__name__, first.rstrip(".")]))
