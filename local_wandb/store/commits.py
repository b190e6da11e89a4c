"""Commits: from an uploaded manifest to a version of an artifact."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError

from local_wandb.errors import ConflictError, RequestError
from local_wandb.store.clock import now
from local_wandb.store.rows import Artifact, Membership
from local_wandb.store.store import Store
from local_wandb.store.versions import add_version, set_aliases


class Entry(BaseModel):
    """A file of a manifest, or a reference to one elsewhere (``ref``)."""

    digest: str
    size: int = 0
    ref: str | None = None


class ManifestFile(BaseModel):
    """``wandb_manifest.json`` (docs/upstream/wandb-protocol.md, "Digests and manifests")."""

    contents: dict[str, Entry]

    def digest(self) -> str:
        """Return the digest of the artifact: hex MD5 over its paths and their digests."""
        lines = [f"{path}:{entry.digest}\n" for path, entry in sorted(self.contents.items())]
        text = "wandb-artifact-manifest-v1\n" + "".join(lines)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def blob_key(digest: str) -> str:
    """Return the key of a blob.

    Args:
        digest: Base64 MD5, as W&B writes the digest of a file.

    Returns:
        The same MD5 as 32 hexadecimal digits.

    Raises:
        RequestError: The digest is not an MD5.
    """
    try:
        raw = base64.b64decode(digest, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != hashlib.md5(usedforsecurity=False).digest_size:
        raise RequestError(f"'{digest}' is not a base64 MD5 digest")
    return raw.hex()


def commit(store: Store, artifact: Artifact) -> Artifact:
    """Turn a pending artifact into the next version of its sequence.

    Args:
        artifact: A pending artifact; any other is returned unchanged, because clients repeat
            requests.

    Raises:
        ConflictError: The manifest, a file or the digest does not match.
    """
    if artifact.state != "PENDING":
        return artifact
    manifest = _uploaded_manifest(store, artifact)
    with store.database.write() as connection:
        connection.executemany(
            "INSERT INTO artifact_file (artifact_id, path, digest, size, ref)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (artifact.id, path, entry.digest, entry.size, entry.ref)
                for path, entry in sorted(manifest.contents.items())
            ],
        )
        committed = store.artifacts.change(
            artifact.id,
            state="COMMITTED",
            size=sum(entry.size for entry in manifest.contents.values()),
            file_count=len(manifest.contents),
            updated_at=now(),
        )
        publish(store, committed, _pending_aliases(store, artifact))
        return committed


def save_pending_aliases(store: Store, artifact: Artifact, aliases: Iterable[str]) -> None:
    """Store the aliases that a pending artifact gets when it is committed."""
    with store.database.write() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO wanted_alias (artifact_id, alias) VALUES (?, ?)",
            [(artifact.id, alias) for alias in aliases],
        )


def publish(store: Store, artifact: Artifact, aliases: Iterable[str]) -> Membership:
    """Make a committed artifact a version of its sequence and point aliases to it.

    Args:
        artifact: A committed artifact; if it is a version already, it keeps its number.
        aliases: Aliases in addition to ``latest``, which always moves.
    """
    version, _ = add_version(store, store.collections.get(artifact.sequence_id), artifact)
    set_aliases(store, version, {"latest", *aliases})
    return version


def _uploaded_manifest(store: Store, artifact: Artifact) -> ManifestFile:
    row = store.manifests.find(artifact_id=artifact.id)
    path = store.blobs.path(blob_key(row.digest)) if row and row.digest else None
    if path is None or not path.is_file():
        raise ConflictError(f"the manifest of artifact {artifact.id} was not uploaded")
    try:
        manifest = ManifestFile.model_validate(json.loads(path.read_bytes()))
    except (ValueError, ValidationError) as error:
        raise RequestError(f"the manifest of artifact {artifact.id} is malformed") from error
    for name, entry in manifest.contents.items():
        if entry.ref is None and not store.blobs.has(blob_key(entry.digest)):
            raise ConflictError(f"file '{name}' of artifact {artifact.id} was not uploaded")
    if manifest.digest() != artifact.digest:
        raise ConflictError(f"artifact {artifact.id} does not have the digest {artifact.digest}")
    return manifest


def _pending_aliases(store: Store, artifact: Artifact) -> list[str]:
    rows = store.database.rows(
        "SELECT alias FROM wanted_alias WHERE artifact_id = ?", (artifact.id,)
    )
    return [row["alias"] for row in rows]
