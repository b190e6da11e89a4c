"""How sure a verdict can be: intervals, tests and the rows that may be left out.

Pure functions over numbers: nothing here knows of W&B, Weave or Redis, and the same scores give the
same figures always, in whatever order they come.

1. ``paired`` makes the interval for the difference between a version and the champion
   (`paired_interval`).
2. ``mcnemar`` tests whether two versions differ where each row is a yes or no (`mcnemar_p`).
3. ``power`` says how small a difference these rows could have shown (`detectable_difference`).
4. ``differences`` is what the first and the third stand on: the rows, or the clusters of rows, that
   chance drew.
5. ``confidence_sequence`` says after any number of rows where the mean of all of them can still be
   (`ConfidenceSequence`), for stopping early.
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
