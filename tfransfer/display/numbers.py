"""Number formats, shared by the terminal, the report, notebooks, model cards and tables."""

from typing import Any


def percent(value: float) -> str:
    """A fraction in [0, 1] as a percentage: `91.5%`."""
    return f"{100 * value:.1f}%"


def number_text(value: Any) -> str:
    """A value in a table: `0.915`, `12,345`, `3,670`, empty for None, anything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def value_text(value: float) -> str:
    """A predicted number whose unit is unknown: four significant digits."""
    return f"{value:.4g}"
