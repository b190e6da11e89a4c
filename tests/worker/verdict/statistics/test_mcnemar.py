import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from worker.verdict.statistics import mcnemar_p

# Computed with statsmodels 0.15.0, in an environment of its own:
#   from statsmodels.stats.contingency_tables import mcnemar
#   mcnemar([[7, lost], [gained, 4]], exact=True).pvalue
_STATSMODELS = {
    (0, 1): 1.0,
    (1, 0): 1.0,
    (5, 5): 1.0,
    (3, 9): 0.14599609375,
    (9, 3): 0.14599609375,
    (0, 6): 0.03125,
    (1, 15): 0.000518798828125,
    (12, 30): 0.007915897334896727,
    (40, 41): 1.0,
    (0, 60): 1.734723475976807e-18,
    (150, 210): 0.001834007417096482,
}
_ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()))


def _p(gained: int, lost: int) -> float:
    candidate = [True] * gained + [False] * lost + [True] * 7 + [False] * 4
    champion = [False] * gained + [True] * lost + [True] * 7 + [False] * 4
    return mcnemar_p(candidate, champion)


@pytest.mark.parametrize(("gained", "lost"), _STATSMODELS)
def test_the_p_value_is_that_of_statsmodels_and_scipy(gained: int, lost: int) -> None:
    assert _p(gained, lost) == pytest.approx(_STATSMODELS[gained, lost])
    assert _p(gained, lost) == binomtest(gained, gained + lost).pvalue


def test_versions_that_never_disagree_do_not_differ() -> None:
    assert _p(0, 0) == 1.0
    assert mcnemar_p([], []) == 1.0


@given(_ANSWERS)
def test_who_is_called_the_candidate_does_not_matter(answers: list[tuple[bool, bool]]) -> None:
    candidate = [new for new, _ in answers]
    champion = [old for _, old in answers]
    assert mcnemar_p(candidate, champion) == pytest.approx(mcnemar_p(champion, candidate))


def test_rows_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="is shorter"):
        mcnemar_p([True, False], [True])
