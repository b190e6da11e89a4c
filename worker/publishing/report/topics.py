"""The scores of a version beside the champion's, topic by topic."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from worker.publishing.predictions import Prediction

ALL = "All rows"


@dataclass(frozen=True)
class TopicMeans:
    """The mean score of a topic's rows.

    Attributes:
        topic: its name; empty for rows that have none.
        rows: the version's rows.
        version: mean of those that have a score; None if none has.
        champion: the same of the champion; None without one, too.
    """

    topic: str
    rows: int
    version: float | None
    champion: float | None

    @property
    def difference(self) -> float | None:
        """The version's mean less the champion's."""
        if self.version is None or self.champion is None:
            return None
        return self.version - self.champion


def by_topic(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> list[TopicMeans]:
    """Each topic, the one where the version lost or lacks the most first."""
    before, now = _grouped(_same_rows(candidate, champion)), _grouped(candidate)
    means = [_means(topic, now[topic], before[topic]) for topic in sorted(now)]
    return sorted(means, key=_standing)


def overall(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> TopicMeans:
    """All rows together."""
    return _means(ALL, candidate, _same_rows(candidate, champion))


def _same_rows(
    candidate: Sequence[Prediction], champion: Sequence[Prediction]
) -> Sequence[Prediction]:
    """The champion's answers to what the version was asked, which an early stop makes less."""
    asked = {one.id for one in candidate}
    return [one for one in champion if one.id in asked]


def _grouped(rows: Sequence[Prediction]) -> defaultdict[str, list[Prediction]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row.topic].append(row)
    return groups


def _means(
    topic: str, candidate: Sequence[Prediction], champion: Sequence[Prediction]
) -> TopicMeans:
    return TopicMeans(topic, len(candidate), _mean(candidate), _mean(champion))


def _mean(rows: Sequence[Prediction]) -> float | None:
    scores = [one.score for one in rows if one.score is not None and math.isfinite(one.score)]
    return fmean(scores) if scores else None


def _standing(means: TopicMeans) -> float:
    for standing in (means.difference, means.version):
        if standing is not None:
            return standing
    return 0.0
