"""Numbers as people read them: the one place for the terminal, the report, notebooks, model cards and tables."""

from typing import Any


def percent(value: float) -> str:
    """A share in [0, 1]: `91.5%`."""
    return f"{100 * value:.1f}%"


def number_text(value: Any) -> str:
    """A value in a table: `0.915`, `12,345`, `3,670`, nothing for None, anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"


def value_text(value: float) -> str:
    """A predicted number in a unit that is not known: four digits."""
    return f"{value:.4g}"
