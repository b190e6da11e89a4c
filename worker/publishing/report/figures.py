"""Numbers as people read them."""

_LARGE = 10_000  # from here on the decimals say nothing


def number(value: float) -> str:
    """Four significant digits, with a real minus sign."""
    value += 0.0  # there is no such thing as -0
    text = f"{value:,.0f}" if _LARGE <= abs(value) < _LARGE**3 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """The number with its sign, as a difference has it."""
    return f"+{number(value)}" if value > 0 else number(value)


def duration(seconds: float) -> str:
    """Seconds, in minutes and hours where they are many."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
