"""Plots from plain values, as figures that a notebook displays without pyplot's global state."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tfransfer.errors import SettingError
from tfransfer.system.files import REMEDY, whole
from tfransfer.tasks.intervals import wilson
from tfransfer.tasks.reliability import Bin
from tfransfer.tasks.task import metric_name

INK, FAINT, GRID = "#1c2733", "#5b6875", "#d5dbe1"
BLUE, ORANGE, RED = "#1f6fb4", "#b9540b", "#c02d3c"
# Colours of classes; the marks differ as well, for readers who cannot distinguish all colours.
SERIES = (BLUE, ORANGE, "#25814a", "#8a4fb0", "#a8326e", "#6b5a10", "#0b7f8a", "#59636e")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
# With more classes than this, a map does not distinguish them, and a matrix shows no names.
MOST_MARKED, MOST_NAMED = 24, 30
_WIDTH, _HEIGHT = 4.6, 3.3
_FORMS = (".png", ".svg", ".pdf")
_PHASES = {"head": "head", "fine_tune": "fine-tune"}


class Plot(Figure):
    """A figure that a notebook displays as an image, whatever pyplot's backend."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=110)
        return stream.getvalue()


def require_plot_file(path: Path) -> None:
    """Check that plots can be written in the format of a file's name.

    Raises:
        SettingError: They cannot.
    """
    if path.suffix.lower() not in _FORMS:
        raise SettingError(f"a plot is a .png, .svg or .pdf file, not {path.name!r}.")


def write_plot(plot: Figure, path: Path, remedy: str = REMEDY) -> None:
    """Write a plot atomically, in the format of the file's name.

    Args:
        plot: The plot.
        path: Its file.
        remedy: What the user should do where it is not writable.

    Raises:
        SettingError: Plots cannot be written in this format.
        WriteError: The file cannot be written.
    """
    require_plot_file(path)
    with whole(path, remedy) as temporary:
        plot.savefig(temporary, format=path.suffix.lower().removeprefix("."), dpi=110)


def _plot(width: float = _WIDTH, height: float = _HEIGHT) -> Plot:
    return Plot(figsize=(width, height), layout="constrained")


def _axes(plot: Plot, *place: Any) -> Axes:
    axes: Axes = plot.add_subplot(*place)
    axes.set_facecolor("none")
    axes.tick_params(which="both", colors=FAINT, labelsize=9)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(FAINT)
    return axes


def _bare_axes(plot: Plot) -> Axes:
    """Axes without numbers, for a map whose axes have no meaning."""
    axes = _axes(plot)
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _label(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across, color=INK, fontsize=10)
    axes.set_ylabel(up, color=INK, fontsize=10, parse_math=False)


def column(rows: Sequence[dict[str, Any]], key: str) -> np.ndarray:
    """A column of `history.csv` as numbers, float64 (n,), with NaN for missing values."""
    return np.array([float("nan" if (value := row.get(key)) in (None, "") else value) for row in rows])


def boundary(rows: Sequence[dict[str, Any]]) -> int:
    """The number of rows of the first phase."""
    return sum(row["phase"] == rows[0]["phase"] for row in rows) if rows else 0


def history(rows: Sequence[dict[str, Any]], keys: Sequence[str], selected: int | None = None) -> Plot:
    """Learning curves of both phases, a panel for each metric.

    Args:
        rows: Rows of `history.csv`: phase, and for each key a column and one prefixed with `val_`.
        keys: For example "loss" and "top1".
        selected: Position of the selected epoch's row.
    """
    plot = _plot(height=2.9 * len(keys))
    for number, key in enumerate(keys, 1):
        axes = _axes(plot, len(keys), 1, number)
        _curves(axes, rows, key, selected)
    return plot


def _curves(axes: Axes, rows: Sequence[dict[str, Any]], key: str, selected: int | None) -> None:
    epochs = np.arange(1, len(rows) + 1)
    for name, of, colour, mark in (("training", key, ORANGE, "s"), ("validation", f"val_{key}", BLUE, "o")):
        values = column(rows, of)
        if np.isfinite(values).any():
            axes.plot(epochs, values, color=colour, marker=mark, markersize=3.5, linewidth=1.8, label=name)
            if selected is not None and of != key and np.isfinite(values[selected]):
                axes.plot(epochs[selected], values[selected], "o", markersize=10, fillstyle="none", color=INK,
                          label="selected")  # fmt: skip
    first = boundary(rows)
    if 0 < first < len(rows):
        axes.axvline(first + 0.5, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for start, end, row in ((0, first, 0), (first, len(rows), -1)):
        if end > start:
            text = _PHASES.get(rows[row]["phase"], rows[row]["phase"])
            axes.text((start + end + 1) / 2, 1.02, text, color=INK, fontsize=9, ha="center",
                      transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set_xlim(0.5, max(len(rows), 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _label(axes, "epoch", metric_name(key))
    if axes.lines:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def learning_rates(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Plot:
    """Validation loss over the learning rate, with the suggested rate.

    Args:
        rates: Learning rates, from the lowest.
        losses: The loss of each; losses far above the median are cut off at the top.
        suggestion: One of the rates.
    """
    plot = _plot()
    axes = _axes(plot)
    axes.plot(rates, losses, color=BLUE, marker="o", markersize=3.5, linewidth=1.8)
    axes.plot(suggestion, losses[list(rates).index(suggestion)], "o", markersize=10, fillstyle="none", color=INK,
              label=f"suggested: {suggestion:g}")  # fmt: skip
    low, middle = min(losses), float(np.median(losses))
    room = max(middle - low, 1e-6)
    axes.set(xscale="log", ylim=(low - 0.2 * room, min(max(losses) + 0.2 * room, low + 4 * room)))
    _label(axes, "learning rate", "validation loss")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return plot


def trials(
    lines: dict[str, list[tuple[float, float]]], flat: dict[str, float], score: str, best: tuple[float, float] | None
) -> Plot:
    """Validation score over the learning rate, a line for each base and depth.

    Args:
        lines: By name, pairs of a learning rate and a score.
        flat: By name, scores of trials without a learning rate, drawn as horizontal lines.
        score: Name of the score.
        best: Learning rate and score of the best trial; None if that has no rate.
    """
    plot = _plot(6.4, 4.2)
    axes = _axes(plot)
    for number, name in enumerate(sorted(lines)):
        colour, mark = series(number)
        across, up = zip(*sorted(lines[name]), strict=True)
        axes.plot(across, up, color=colour, marker=mark, markersize=4.5, linewidth=1.8, label=name)
    for number, (name, value) in enumerate(flat.items(), start=len(lines)):
        axes.axhline(value, color=series(number)[0], linewidth=1.4, linestyle=(0, (4, 3)), label=name)
    if best is not None:
        axes.plot(*best, "o", markersize=11, fillstyle="none", color=INK, label="best")
    if lines:
        axes.set_xscale("log")
    _label(axes, "learning rate of the fine-tune phase", f"validation {score}")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return plot


def confusion(matrix: np.ndarray, classes: Sequence[str], named: bool = True) -> Plot:
    """A confusion matrix, coloured by the share of each true class.

    Args:
        matrix: Counts, shape (classes, classes): rows are true classes, columns predicted ones.
        classes: Class names; replaced by numbers if the plot's font lacks any of their letters.
        named: Whether to write names and counts, with at most 30 classes.
    """
    named = named and len(classes) <= MOST_NAMED
    side = min(9.0, 2.2 + 0.45 * len(classes)) if named else 4.6
    plot = _plot(side, side)
    axes = _axes(plot)
    axes.grid(visible=False)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    _label(axes, "predicted", "true")
    if named:
        names = drawable(classes)
        axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 2 else 0, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        for (row, col), count in np.ndenumerate(matrix):
            axes.text(col, row, str(count) if count else "·", ha="center", va="center", fontsize=9,
                      color="white" if shares[row, col] > 0.5 else INK)  # fmt: skip
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    return plot


def drawable(names: Sequence[str]) -> list[str]:
    """Names as a plot can draw them: shortened, or all as numbers if its font lacks any of their letters."""
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    shown = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
    if all(font.get_char_index(ord(letter)) for name in shown for letter in name):
        return shown
    return [str(number) for number in range(len(names))]


def reliability(bins: Sequence[Bin]) -> Plot:
    """A reliability diagram: accuracy over confidence, with the number of predictions in each bin below."""
    plot = _plot(height=3.8)
    grid = plot.add_gridspec(2, 1, height_ratios=(3, 1))
    axes = _axes(plot, grid[0])
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label="calibrated")
    middles, widths = [(b.low + b.high) / 2 for b in bins], [0.92 * (b.high - b.low) for b in bins]
    accuracies = np.array([b.accuracy for b in bins])
    axes.bar(middles, accuracies, widths, color=BLUE, alpha=0.45, linewidth=0, label="the model")
    interval = np.array([wilson(round(b.accuracy * b.count), b.count) for b in bins]).T
    error = np.maximum([accuracies - interval[0], interval[1] - accuracies], 0)
    axes.errorbar(middles, accuracies, error, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3, label="95% interval")
    axes.set(xlim=(0, 1), ylim=(0, 1.03))
    axes.set_xticklabels([])
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    _label(axes, "", "accuracy")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left")
    below = _axes(plot, grid[1])
    below.bar(middles, [b.count for b in bins], widths, color=FAINT, linewidth=0)
    below.set_xlim(0, 1)
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    below.xaxis.set_major_formatter(PercentFormatter(1, 0))
    _label(below, "confidence", "predictions")
    return plot


def predicted_over_true(targets: np.ndarray, predicted: np.ndarray) -> Plot:
    """Predicted over true values, both (n,), with the line of a perfect model."""
    plot = _plot(height=4.2)
    axes = _axes(plot)
    ends = [min(targets.min(), predicted.min()), max(targets.max(), predicted.max())]
    axes.plot(ends, ends, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot(targets, predicted, "o", color=BLUE, markersize=4, alpha=0.6, markeredgewidth=0)
    _label(axes, "true", "predicted")
    return plot


def residuals(targets: np.ndarray, predicted: np.ndarray) -> Plot:
    """Histogram of errors, predicted minus true; both (n,)."""
    plot = _plot(height=4.2)
    axes = _axes(plot)
    axes.hist(predicted - targets, bins=min(40, max(5, len(targets) // 8)), color=BLUE, alpha=0.8, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, "predicted minus true", "examples")
    return plot


def flat_map(points: np.ndarray, labels: np.ndarray, classes: int, wrong: np.ndarray | None = None) -> Plot:
    """A map of examples, with a colour and a mark for each class, and a ring around each wrong prediction.

    Args:
        points: Shape (n, 2).
        labels: Integers, shape (n,).
        classes: Number of classes; more than 24 are not distinguished.
        wrong: Whether each prediction is wrong, shape (n,).
    """
    plot = _plot(5.6, 4.6)
    axes = _bare_axes(plot)
    distinct = classes <= MOST_MARKED
    for label in range(classes if distinct else 1):
        of_class = points[labels == label] if distinct else points
        colour, mark = series(label) if distinct else (FAINT, "o")
        axes.plot(of_class[:, 0], of_class[:, 1], mark, color=colour, markersize=5, alpha=0.8, markeredgewidth=0)
    if wrong is not None and wrong.any():
        axes.plot(*points[wrong].T, "o", color=INK, markersize=10, fillstyle="none", markeredgewidth=1.2)
    return plot


def values_map(points: np.ndarray, values: np.ndarray) -> Plot:
    """A map of examples (n, 2), coloured by a number (n,)."""
    plot = _plot(5.6, 4.6)
    axes = _bare_axes(plot)
    scatter = axes.scatter(points[:, 0], points[:, 1], c=values, cmap="viridis", s=22, linewidths=0)
    bar = plot.colorbar(scatter, ax=axes, shrink=0.8)
    bar.ax.tick_params(colors=FAINT, labelsize=9)
    bar.outline.set_visible(False)
    return plot


def series(label: int) -> tuple[str, str]:
    """The colour and the mark of a class."""
    return SERIES[label % len(SERIES)], MARKS[(label + label // len(SERIES)) % len(MARKS)]
