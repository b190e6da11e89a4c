"""A model version with all that it takes to serve it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from schemas.errors import ArtifactError
from worker.inference import checkpoint
from worker.inference.artifact import Adapter, Checkpoint, open_version
from worker.inference.base_model import base_of


@dataclass(frozen=True)
class Version:
    """A checked version.

    Attributes:
        folder: Where it was downloaded to.
        base: The checkpoint an engine starts on: the adapter's base, or the version itself.
        adapter: The adapter, or None for a checkpoint.
    """

    folder: Path
    base: Checkpoint
    adapter: Adapter | None

    @classmethod
    def open(cls, folder: Path, models_dir: Path) -> Self:
        """Check a version and find its base.

        Args:
            folder: Where it was downloaded to.
            models_dir: Folder of base models.

        Raises:
            ArtifactError: The version or its base is refused.
        """
        files = open_version(folder)
        if isinstance(files, Adapter):
            return cls(folder, base_of(files, models_dir), files)
        return cls(folder, files, None)

    @cached_property
    def tokenizer(self) -> Path:
        """The folder of the version's tokenizer: its base's, unless its own one is different.

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

    @property
    def chat_template(self) -> str:
        """The version's Jinja chat template, its own or its base's, never a guess.

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
        """SHA-256 over every file's name and content."""
        total = hashlib.sha256()
        for file in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            total.update(f"{file.relative_to(self.folder)} {content}\n".encode())
        return total.hexdigest()
