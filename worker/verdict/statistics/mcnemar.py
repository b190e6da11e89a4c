"""Tests whether two versions differ where each row is a yes or no."""

from collections.abc import Iterable


def mcnemar_p(candidate: Iterable[bool], champion: Iterable[bool]) -> float:
    """The p-value of the exact McNemar test, two-sided.

    Only rows on which the two disagree count; if neither is better, each of them is a coin toss.
    Source: McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947), with the binomial distribution in place of
    its approximation.

    Args:
        candidate: Yes or no per row.
        champion: Yes or no of the same rows, in the same order.

    Returns:
        1.0 where they never disagree.
    """
    from scipy.stats import binomtest  # takes a second, and few gates need it

    gained = [new for new, old in zip(candidate, champion, strict=True) if new != old]
    return float(binomtest(sum(gained), len(gained)).pvalue) if gained else 1.0
