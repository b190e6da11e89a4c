"""A model version with its base, tokenizer and chat template."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from engine import checkpoint
from engine.artifact import Adapter, Checkpoint, open_version
from engine.base_model import base_of
from engine.options import FetchBase, OnProgress, ignore_progress
from engine.unpack import is_four_bit, unpacked
from schemas.errors import ArtifactError
from schemas.settings import Settings


@dataclass(frozen=True)
class Version:
    """A checked version.

    Attributes:
        folder: Folder of the download.
        base: The checkpoint of the engine: the adapter's base or the version itself, dequantized if
            the original has 4 bits.
        adapter: The adapter; None for a checkpoint.
    """

    folder: Path
    base: Checkpoint
    adapter: Adapter | None

    @classmethod
    def open(
        cls,
        folder: Path,
        settings: Settings,
        *,
        trust_remote_code: bool = False,
        fetch_base: FetchBase | None = None,
        on_progress: OnProgress = ignore_progress,
    ) -> Self:
        """Check a version and find its base; a 4-bit base is unpacked.

        Args:
            folder: Folder of the download.
            settings: The folders of base models and of unpacked ones.
            trust_remote_code: Accept code in the version and in its base.
            fetch_base: Downloads a base that is an artifact.
            on_progress: Receives the progress of downloading and unpacking.

        Raises:
            ArtifactError: The version or its base is refused.
        """
        files = open_version(folder, trust_remote_code=trust_remote_code)
        if isinstance(files, Adapter):
            base = base_of(
                files,
                settings,
                fetch_base=fetch_base,
                trust_remote_code=trust_remote_code,
                on_progress=on_progress,
            )
            return cls(folder, _unpacked_base(base, settings, on_progress), files)
        return cls(folder, _unpacked_base(files, settings, on_progress), None)

    @cached_property
    def tokenizer(self) -> Path:
        """The folder of the version's tokenizer: its base's, unless its own is different.

        Raises:
            ArtifactError: There is none.
        """
        own, inherited = (
            checkpoint.vocabulary(folder) for folder in (self.folder, self.base.folder)
        )
        if not (own or inherited):
            raise ArtifactError(
                f"Neither {self.folder} nor its base has a tokenizer.",
                fix="Save the tokenizer into the version: tokenizer.save_pretrained(folder).",
            )
        return self.folder if own and own != inherited else self.base.folder

    @cached_property
    def chat_template(self) -> str:
        """The version's Jinja chat template, its own or its base's; there is no default.

        Raises:
            ArtifactError: There is none.
        """
        for folder in (self.folder, self.base.folder):
            if template := checkpoint.chat_template(folder):
                return template
        raise ArtifactError(
            f"Neither {self.folder} nor its base has a chat template.",
            fix="Save the tokenizer with its chat template into the version.",
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files of the version and of its base."""
        own, base = checkpoint.digest(self.folder), self.base_digest
        return hashlib.sha256(f"{own} {base}".encode()).hexdigest() if self.adapter else base

    @cached_property
    def base_digest(self) -> str:
        """SHA-256 over the base's files."""
        return checkpoint.digest(self.base.folder)


def _unpacked_base(base: Checkpoint, settings: Settings, on_progress: OnProgress) -> Checkpoint:
    if not is_four_bit(base.folder):
        return base
    return unpacked(base, settings.cache_dir / "unpacked", on_progress)
