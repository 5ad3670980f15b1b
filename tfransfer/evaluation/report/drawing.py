"""Plots and images embedded in one HTML file: SVG in the page's colours, photos as data URLs."""

import base64
import io
import re
from html import escape

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tfransfer.evaluation import plots

# CSS variables of the page with a light and a dark version of each plot colour.
_VARIABLES = {plots.INK: "ink", plots.FAINT: "faint", plots.GRID: "line", plots.RED: "red"} | {
    colour: f"c{number}" for number, colour in enumerate(plots.SERIES)
}


def svg(figure: Figure, described: str) -> str:
    """A figure as an SVG element that scales with the page.

    Args:
        figure: A figure with the colours of `plots` only.
        described: A description for screen readers.
    """
    stream = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "tfransfer"}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=no_metadata)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, name in _VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    width = re.search(r'viewBox="0 0 ([\d.]+)', text)
    head = (
        f'<svg class="plot" role="img" aria-label="{escape(described)}" style="max-width:{float(width[1]) * 1.5:.0f}px"'  # type: ignore[index]
    )
    text = re.sub(r'^<svg([^>]*?) width="[^"]*"', r"<svg\1", text)
    text = re.sub(r'^<svg([^>]*?) height="[^"]*"', r"<svg\1", text)
    return text.replace("<svg", head, 1)


def figure_data(figure: Figure) -> str:
    """A figure as the data URL of a PNG image."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Blend a heat map over a greyscale version of an image.

    Args:
        pixels: uint8 (size, size, 3).
        heat: float32 (size, size) in [0, 1].

    Returns:
        uint8 (size, size, 3).
    """
    grey = pixels.astype(np.float32).mean(axis=2, keepdims=True).repeat(3, axis=2)
    colour = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    share = (0.25 + 0.5 * heat)[..., np.newaxis]
    return np.clip(grey * (1 - share) + colour * share, 0, 255).astype(np.uint8)


def brightest_part(heat: np.ndarray) -> str:
    """The brightest ninth of a heat map (size, size), in words."""
    if heat.max() <= 0:
        return "nowhere"
    third = np.array_split(np.arange(len(heat)), 3)
    parts = [[heat[np.ix_(down, across)].mean() for across in third] for down in third]
    down, across = np.unravel_index(int(np.argmax(parts)), (3, 3))
    words = [("top", "middle", "bottom")[down], ("left", "centre", "right")[across]]
    return "centre" if words == ["middle", "centre"] else " ".join(words)
