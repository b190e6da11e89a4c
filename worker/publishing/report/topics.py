"""The mean scores of version and champion by topic."""

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
        topic: The topic's name; empty for rows without a topic.
        rows: Number of the version's rows.
        version: The version's mean over rows with a score; None if no row has one.
        champion: The champion's mean, likewise; None if there is no champion.
    """

    topic: str
    rows: int
    version: float | None
    champion: float | None

    @property
    def difference(self) -> float | None:
        """The version's mean minus the champion's."""
        if self.version is None or self.champion is None:
            return None
        return self.version - self.champion


def by_topic(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> list[TopicMeans]:
    """Return the means of each topic, the largest loss or the lowest mean first."""
    theirs, ours = _grouped(_same_rows(candidate, champion)), _grouped(candidate)
    means = [_means(topic, ours[topic], theirs[topic]) for topic in sorted(ours)]
    return sorted(means, key=_gain_or_mean)


def overall(candidate: Sequence[Prediction], champion: Sequence[Prediction]) -> TopicMeans:
    """Return the means over all rows."""
    return _means(ALL, candidate, _same_rows(candidate, champion))


def _same_rows(
    candidate: Sequence[Prediction], champion: Sequence[Prediction]
) -> Sequence[Prediction]:
    """Return the champion's predictions on the rows that the version was evaluated on.

    After an early stop these are fewer than the champion's own.
    """
    evaluated = {one.id for one in candidate}
    return [one for one in champion if one.id in evaluated]


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


def _gain_or_mean(means: TopicMeans) -> float:
    for value in (means.difference, means.version):
        if value is not None:
            return value
    return 0.0
