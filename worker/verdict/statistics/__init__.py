"""The statistics of a verdict: intervals, tests and early stops.

Pure functions over numbers, without W&B, Weave or Redis. The same scores give the same figures in
any order.

1. ``paired`` makes the interval for the difference between a version and the champion
   (``paired_interval``).
2. ``mcnemar`` tests whether two versions differ where each row is a yes or no (``mcnemar_p``).
3. ``power`` gives the smallest difference that these rows could have shown
   (``detectable_difference``).
4. ``differences`` pairs the rows and groups them by cluster, for ``paired`` and ``power``.
5. ``confidence_sequence`` bounds the mean of all rows after any number of them, for early stops
   (``ConfidenceSequence``).
"""

from worker.verdict.statistics.confidence_sequence import ConfidenceSequence
from worker.verdict.statistics.differences import TooFewRowsError
from worker.verdict.statistics.mcnemar import mcnemar_p
from worker.verdict.statistics.paired import PairedInterval, paired_interval
from worker.verdict.statistics.power import detectable_difference

__all__ = [
    "ConfidenceSequence",
    "PairedInterval",
    "TooFewRowsError",
    "detectable_difference",
    "mcnemar_p",
    "paired_interval",
]
