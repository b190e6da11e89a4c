"""Numbers formatted for people."""

_LARGE = 10_000  # from here on, decimals are noise


def number(value: float) -> str:
    """Format a number with four significant digits and a real minus sign."""
    value += 0.0  # turns -0.0 into 0.0
    text = f"{value:,.0f}" if _LARGE <= abs(value) < _LARGE**3 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Format a difference, with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def duration(seconds: float) -> str:
    """Format seconds; long durations are in minutes or hours."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
