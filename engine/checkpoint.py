"""Reads checkpoint folders without loading the weights.

The headers of the weight files hold every tensor's name, shape and offset, so a version can be
checked, compared and rewritten without a copy of the model in memory.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from schemas.errors import ArtifactError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
SPECIAL_TOKENS = ("bos_token", "eos_token", "add_bos_token", "add_eos_token")

# Bytes. Larger files are not hashed.
_LARGE = 64 * 2**20
# Bytes. A header has about 100 per tensor; safetensors itself refuses a larger one.
_LONGEST_HEADER = 100_000_000


class TensorLocation(BaseModel):
    """The location of one tensor.

    Attributes:
        file: The safetensors file.
        dtype: Element type in safetensors' notation, such as "BF16".
        shape: Sizes of the dimensions.
        start: Offset of the first byte in the file.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int


class _HeaderEntry(BaseModel):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


# Tensors by name, and "__metadata__", a table of strings.
_HEADER = TypeAdapter(dict[str, _HeaderEntry | dict[str, str]])


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a model version.

    Raises:
        ArtifactError: The file is missing or is not a JSON object.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{file} holds a JSON {type(content).__name__}, not an object.")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files with a checkpoint's weights, sorted by name.

    Returns:
        The files in the index if there is one, otherwise every ``*.safetensors``.

    Raises:
        ArtifactError: The index names a file that is not in the folder.
    """
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return sorted(folder.glob("*.safetensors"))
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ArtifactError(
                f"{index} names the weight file {name}, which is not in the folder.",
                fix="Log every shard of the checkpoint.",
            )
    return [folder / name for name in names]


def tensors(files: list[Path]) -> dict[str, TensorLocation]:
    """Locate every tensor in some safetensors files.

    Raises:
        ArtifactError: A file is cut short or is not in the safetensors format.
    """
    return {name: location for file in files for name, location in _header(file)}


def _header(file: Path) -> Iterator[tuple[str, TensorLocation]]:
    """Parse the header: 8 bytes of length, JSON, then the tensors' bytes.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError(f"a header of {length} bytes")
            parsed = _HEADER.validate_json(stream.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise ArtifactError(
            f"{file} is not a safetensors file.", fix="Save and log the version again."
        ) from error
    entries = {name: entry for name, entry in parsed.items() if isinstance(entry, _HeaderEntry)}
    data = 8 + length
    size = data + max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if file.stat().st_size != size:
        raise ArtifactError(
            f"{file} has {file.stat().st_size} bytes but its header promises {size}.",
            fix="Log the version again; the upload or the download was cut short.",
        )
    for name, entry in entries.items():
        start = data + entry.data_offsets[0]
        yield name, TensorLocation(file=file, dtype=entry.dtype, shape=entry.shape, start=start)


def chat_template(folder: Path) -> str | None:
    """The Jinja chat template of a tokenizer's folder, or None."""
    template = folder / "chat_template.jinja"
    if template.is_file():
        return template.read_text("utf-8")
    stored = _optional_json(folder / "tokenizer_config.json").get("chat_template")
    return stored if isinstance(stored, str) else None


def digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files; valid on this machine only.

    A large file counts by its path, size and modification time, because hashing a hundred gigabytes
    takes minutes.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{file.relative_to(folder)} {_content(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(file: Path) -> str:
    stat = file.stat()
    if stat.st_size > _LARGE:
        return f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


def code(folder: Path) -> list[str]:
    """SHA-256 of each code file in a checkpoint."""
    files = sorted(folder.rglob("*.py"))
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def dtype(folder: Path) -> str | None:
    """The type of a checkpoint's weights in its configuration, such as "bfloat16"."""
    config = read_json(folder / "config.json")
    named = config.get("dtype", config.get("torch_dtype"))  # its name before transformers 5
    return named if isinstance(named, str) else None


def identity(weights: Path, tokenizer: Path) -> str:
    """Digest of everything about a model that a running engine cannot exchange.

    Two checkpoints with the same identity have the same configuration, the same tensors in the
    same shapes and the same vocabulary. Loading one over the other therefore replaces every weight.

    Args:
        weights: Checkpoint folder.
        tokenizer: Folder of its tokenizer.

    Returns:
        A SHA-256 in hexadecimal.
    """
    shapes = {name: place.shape for name, place in tensors(weight_files(weights)).items()}
    parts = {
        "config": _architecture(read_json(weights / "config.json")),
        "stop": _optional_json(weights / "generation_config.json").get("eos_token_id"),
        "tensors": shapes,
        "tokenizer": vocabulary(tokenizer),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _architecture(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the fields about who saved it."""
    notes = {"transformers_version", "use_cache", "torch_dtype"}
    kept = {k: v for k, v in config.items() if k not in notes and not k.startswith("_")}
    kept.setdefault("dtype", config.get("torch_dtype"))
    return kept


def vocabulary(folder: Path) -> dict[str, Any]:
    """What turns text into token ids; empty if the folder has no tokenizer.

    The chat template is not part of it: each request carries its own.
    """
    tokenizer = _optional_json(folder / "tokenizer.json")
    batching = {"version", "truncation", "padding"}  # set by trainers, unused here
    parts = {key: value for key, value in tokenizer.items() if key not in batching}
    for name in TOKENIZER_FILES:
        if not tokenizer and (folder / name).is_file():
            parts[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    config = _optional_json(folder / "tokenizer_config.json")
    special = {key: _token_text(config.get(key)) for key in SPECIAL_TOKENS}
    return parts | special if parts else {}


def _token_text(token: Any) -> Any:
    return token.get("content") if isinstance(token, dict) else token


def _optional_json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
