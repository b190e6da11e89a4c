import pytest

from bench.early_stop import simulate


@pytest.mark.parametrize("scores", ["yes or no", "beta", "token F1"])
@pytest.mark.parametrize("mean", ["just below", "at", "above", "far below"])
def test_an_early_stop_is_wrong_as_seldom_as_stated(scores: str, mean: str) -> None:
    """The short form of `python -m bench.early_stop`."""
    figures = simulate((scores, mean), streams=100, rows=66)
    assert figures.wrong_promotions <= 0.05
    assert figures.wrong_rejections <= 0.05
    assert figures.rows_saved > (0.1 if mean in ("above", "far below") else 0) - 1e-9
