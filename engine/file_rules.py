"""Checks the list of a version's files before anything is downloaded or read.

| refused                                             | because                               |
|-----------------------------------------------------|---------------------------------------|
| `/x`, `../x`, `a//x`, `C:x`, backslash, unprintable | The file could be written anywhere.   |
| a reference, such as `s3://bucket/x`                | Its size and content are not known.   |
| `*.bin`, `*.pt` and other pickles                   | Loading it can run code.              |
| `*.py` (unless the gate trusts code), `*.so` ...    | It is code.                           |
| `X` next to `x`, `a` next to `a/x`                  | One would overwrite the other.        |
| files that are too large in total                   | They would fill the disk.             |
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import ArtifactError

# Formats whose loaders unpickle, which can run code from the file.
PICKLED = frozenset(
    {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras"}
)
MODEL_CODE = frozenset({".py"})
CODE = MODEL_CODE | {".pyc", ".pyd", ".so", ".dll", ".dylib", ".exe", ".sh"}

_DRIVE = re.compile(r"[A-Za-z]:")
_GIB = 2**30


class ListedFile(BaseModel):
    """One file in the list of a version's files.

    Attributes:
        path: Path in the version's folder, with "/" as separator.
        size: Size in bytes.
        reference: URL of a file that W&B does not store, such as "s3://bucket/key".
    """

    model_config = ConfigDict(frozen=True)

    path: str
    size: int = Field(ge=0)
    reference: str | None = None


def refuse_unsafe(
    files: Iterable[ListedFile],
    name: str,
    *,
    max_bytes: int | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Refuse a version with an unsafe file.

    Args:
        files: All files of the version.
        name: The version's name in messages.
        max_bytes: Limit on the total size; None means no limit.
        trust_remote_code: Accept model code, ``*.py``.

    Raises:
        ArtifactError: A file breaks a rule; the message names it.
    """
    listed = sorted(files, key=lambda file: file.path)
    for file in listed:
        _refuse_path(file, name)
        _refuse_reference(file, name)
        _refuse_format(file, name, CODE - MODEL_CODE if trust_remote_code else CODE)
    _refuse_clashes(listed, name)
    if max_bytes is not None:
        _refuse_size(listed, name, max_bytes)


def _refuse_path(file: ListedFile, name: str) -> None:
    # The first part of an absolute path is empty.
    leaves = not {"", ".", ".."}.isdisjoint(file.path.split("/"))
    foreign = "\\" in file.path or _DRIVE.match(file.path) or not file.path.isprintable()
    if leaves or foreign:
        raise ArtifactError(
            f"{file.path!r} in {name} is not a plain path below its folder.",
            fix="Log the folder with add_dir(), which names each file by its path in it.",
        )


def _refuse_reference(file: ListedFile, name: str) -> None:
    if file.reference is not None:
        raise ArtifactError(
            f"{file.path} in {name} is a reference to {file.reference}, not a file.",
            fix="Log the files themselves, with add_file() or add_dir().",
        )


def _refuse_format(file: ListedFile, name: str, code: frozenset[str]) -> None:
    suffix = PurePosixPath(file.path).suffix.lower()
    if suffix in PICKLED:
        raise ArtifactError(
            f"{file.path} in {name} is in a format that can run code when it is loaded.",
            fix="Log only safetensors, JSON and text files; leave out the trainer's state.",
        )
    if suffix in code:
        raise ArtifactError(
            f"{file.path} in {name} is code.",
            fix="Log only safetensors, JSON and text files.",
        )


def _refuse_clashes(files: Sequence[ListedFile], name: str) -> None:
    """Refuse paths that are equal on a file system that ignores case or normalizes Unicode."""
    paths = {_folded(file.path): file.path for file in files}
    for file in files:
        if paths[_folded(file.path)] != file.path:
            raise ArtifactError(
                f"{file.path} and {paths[_folded(file.path)]} in {name} differ only in case.",
                fix="Rename one of them.",
            )
        for folder in PurePosixPath(_folded(file.path)).parents:
            if str(folder) in paths:
                raise ArtifactError(
                    f"{paths[str(folder)]} in {name} is a file and the folder of {file.path}.",
                    fix="Rename one of them.",
                )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _refuse_size(files: Sequence[ListedFile], name: str, max_bytes: int) -> None:
    total = sum(file.size for file in files)
    if total > max_bytes:
        raise ArtifactError(
            f"The files of {name} have {total / _GIB:.1f} GiB together, more than the"
            f" {max_bytes / _GIB:g} GiB that are allowed.",
            fix="Log only the weights, tokenizer and configuration, or ask the operator to raise"
            " WEIGHBRIDGE_MAX_VERSION_GIB.",
        )
