import pytest

from worker.publishing.report.figures import duration, number, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.6843137, "0.6843"),
        (-0.05, "\N{MINUS SIGN}0.05"),
        (1438.2, "1438"),
        (123456.7, "123,457"),
        (0.0000123, "1.23e\N{MINUS SIGN}05"),
        (1e300, "1e+300"),
    ],
)
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_gain_has_a_plus() -> None:
    assert [signed(value) for value in (0.5, -0.5, 0.0)] == ["+0.5", "\N{MINUS SIGN}0.5", "0"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (134, "2 min 14 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_long_durations_are_in_minutes_or_hours(seconds: float, text: str) -> None:
    assert duration(seconds) == text
