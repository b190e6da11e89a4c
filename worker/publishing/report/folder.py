"""The folder that keeps the reports, one file for each weighing."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from schemas.errors import ConfigurationError
from schemas.events import WeighingId
from schemas.verdicts import Verdict

_LONGEST = 80  # characters of a collection's name; file systems end at 255 for the whole


def write_report(page: str, folder: Path, verdict: Verdict) -> Path:
    """Keep the page of a verdict; the page of an earlier verdict on the same weighing goes.

    Returns:
        The file. Whoever reads it has the old page or the new one, never a part.

    Raises:
        ConfigurationError: the folder cannot be written to.
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
            fix="Make the folder writable, or name another one.",
        ) from error
    return path


def _name(weighing: WeighingId) -> str:
    collection = re.sub(r"[^A-Za-z0-9]+", "-", weighing.version.collection).strip("-")
    # Tells apart what the line above has made equal, and collections in other registries.
    digest = hashlib.sha256(str(weighing).encode()).hexdigest()[:8]
    name = "-".join(filter(None, (weighing.gate, collection[:_LONGEST], f"v{weighing.number}")))
    return f"{name}-{digest}.html"
