"""Select weighings by version."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from schemas.refs import ArtifactRef
from schemas.weighings import WeighingRecord


def matching(records: Iterable[WeighingRecord], ref: str) -> list[WeighingRecord]:
    """Return the weighings of a version, or of all versions that match shell wildcards.

    Raises:
        ConfigurationError: ``ref`` is not a reference.
    """
    pattern = str(ArtifactRef.parse(ref))
    return [record for record in records if fnmatchcase(str(record.id.version), pattern)]
