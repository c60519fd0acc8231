"""Spans of time as people say them."""

MINUTE_S, HOUR_S, DAY_S = 60.0, 3_600.0, 86_400.0


def in_words(seconds: float) -> str:
    """Such as "3.2 s", "40 s", "4 min", "9 h" or "5 days": two units of the smaller are the least of the greater."""
    if seconds < 10.0:
        return f"{seconds:.1f} s"
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    if seconds < 4 * DAY_S:
        return f"{seconds / HOUR_S:.0f} h"
    return f"{seconds / DAY_S:.0f} days"
