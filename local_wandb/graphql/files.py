"""Files of runs and artifacts, with the addresses at which their bytes are read and written."""

import base64
import mimetypes
from dataclasses import dataclass

from local_wandb.graphql.context import Context
from local_wandb.graphql.resolvers import Resolvers
from local_wandb.store.commits import blob_key
from local_wandb.store.rows import Artifact, ArtifactFile, Manifest, RunFile


@dataclass(frozen=True)
class File:
    """A file as the schema has it: of a run, of an artifact, or an artifact's manifest."""

    id: int
    name: str
    direct_url: str
    size_bytes: int = 0
    digest: str | None = None
    md5: str | None = None
    updated_at: str | None = None
    storage_path: str | None = None
    upload_url: str | None = None
    upload_headers: tuple[str, ...] = ()
    artifact: Artifact | None = None

    @property
    def display_name(self) -> str:
        """The name, under the field that older clients read."""
        return self.name

    @property
    def mimetype(self) -> str | None:
        """The media type that the name suggests."""
        return mimetypes.guess_type(self.name)[0]


RESOLVERS = Resolvers()
RESOLVERS.row(File)
RESOLVERS.constant(
    None,
    "File.uploadMultipartUrls",
    "UploadMultipartUrls.uploadID",
    "UploadMultipartUrls.uploadUrlParts",
    "UploadUrlPart.partNumber",
    "UploadUrlPart.uploadUrl",
)


@RESOLVERS.field("File.url")
def _url(file: File, _: Context, upload: bool | None = None) -> str | None:
    return file.upload_url if upload else file.direct_url


def file_of_run(context: Context, file: RunFile) -> File:
    """Return a file of a run."""
    return File(
        id=file.id,
        name=file.name,
        direct_url=context.urls.download(file.md5) if file.md5 else "",
        size_bytes=file.size,
        md5=base64.b64encode(bytes.fromhex(file.md5)).decode() if file.md5 else None,
        updated_at=file.updated_at,
        upload_url=context.urls.upload_run_file(file.id),
    )


def file_of_artifact(context: Context, file: ArtifactFile) -> File:
    """Return a file or a reference of an artifact."""
    url = context.urls.download(blob_key(file.digest)) if file.ref is None else file.ref
    return File(
        id=file.id, name=file.path, direct_url=url, size_bytes=file.size, digest=file.digest
    )


def manifest_file(context: Context, manifest: Manifest) -> File:
    """Return the manifest of an artifact as a file.

    Args:
        manifest: The row; without a digest the file has no addresses yet.
    """
    if not manifest.digest:
        return File(id=manifest.id, name=manifest.name, direct_url="")
    return File(
        id=manifest.id,
        name=manifest.name,
        direct_url=context.urls.download(blob_key(manifest.digest)),
        digest=manifest.digest,
        upload_url=context.urls.upload(blob_key(manifest.digest)),
        upload_headers=upload_headers(manifest.digest),
    )


def incoming_file(context: Context, artifact: Artifact, name: str, digest: str) -> File:
    """Return a file that a client wants to upload.

    It has no upload URL if the bytes are stored already.

    Args:
        artifact: The artifact that gets the file.
        name: The path of the file in the artifact.
        digest: Base64 MD5 of the file's bytes.
    """
    key = blob_key(digest)
    here = context.store.blobs.has(key)
    return File(
        id=artifact.id,
        name=name,
        direct_url=context.urls.download(key),
        digest=digest,
        storage_path=f"blobs/{key}",
        upload_url=None if here else context.urls.upload(key),
        upload_headers=upload_headers(digest),
        artifact=artifact,
    )


def upload_headers(digest: str) -> tuple[str, ...]:
    """Return the headers that a client must send with the bytes.

    Args:
        digest: Base64 MD5 of the bytes.
    """
    return (f"Content-MD5:{digest}", "Content-Type:application/octet-stream")
