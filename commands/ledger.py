"""Select weighings by version."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from schemas.refs import ArtifactRef
from schemas.weighings import WeighingRecord


def matching(records: Iterable[WeighingRecord], text: str) -> list[WeighingRecord]:
    """The weighings of a version, or of all that match shell wildcards.

    Raises:
        ConfigurationError: the text is no reference.
    """
    pattern = str(ArtifactRef.parse(text))
    return [record for record in records if fnmatchcase(str(record.id.version), pattern)]
