"""The report folder, with one file per weighing."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from schemas.errors import ConfigurationError
from schemas.events import WeighingId
from schemas.verdicts import Verdict

_MAX_NAME = 80  # characters of the collection; file systems limit the whole name to 255


def write_report(page: str, folder: Path, verdict: Verdict) -> Path:
    """Write the page of a verdict, replacing the page of an earlier verdict on the same weighing.

    Returns:
        The file. It is replaced atomically, so a reader never sees a partial page.

    Raises:
        ConfigurationError: The folder cannot be written to.
    """
    path = folder / _name(verdict.weighing)
    partial = folder / f".{path.stem}.{uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise ConfigurationError(
            f"The report cannot be written to {folder}: {error.strerror}.",
            fix="Make the folder writable, or set WEIGHBRIDGE_REPORT_DIR to another one.",
        ) from error
    return path


def _name(weighing: WeighingId) -> str:
    collection = re.sub(r"[^A-Za-z0-9]+", "-", weighing.version.collection).strip("-")
    # Distinguishes names that the line above made equal, and collections in other registries.
    digest = hashlib.sha256(str(weighing).encode()).hexdigest()[:8]
    name = "-".join(filter(None, (weighing.gate, collection[:_MAX_NAME], f"v{weighing.number}")))
    return f"{name}-{digest}.html"
