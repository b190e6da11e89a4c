"""What the ledger holds, for commands that look at it."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from bus.connection import connect
from bus.ledger import Ledger
from schemas.refs import ArtifactRef
from schemas.settings import Settings
from schemas.weighings import WeighingRecord


def ledger_of(settings: Settings) -> Ledger:
    """The ledger on the Redis that the settings name."""
    client = connect(settings.broker_url, settings.redis_master)
    return Ledger(client, settings.lease, settings.keep_days)


def matching(records: Iterable[WeighingRecord], text: str) -> list[WeighingRecord]:
    """The weighings of a version, or of all that match shell wildcards.

    Raises:
        ConfigurationError: the text is no reference.
    """
    pattern = str(ArtifactRef.parse(text))
    return [record for record in records if fnmatchcase(str(record.id.version), pattern)]
