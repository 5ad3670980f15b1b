"""Exported files and their cost as a table, for the terminal and for notebooks."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfransfer.display.html import table
from tfransfer.display.numbers import number_text
from tfransfer.exports import signature
from tfransfer.exports.signature import signature_table
from tfransfer.system.files import size_text
from tfransfer.tasks.task import find_task

if TYPE_CHECKING:
    from tfransfer.exports.exporting import Export

TITLE = "exports, loaded again and measured"


def export_rows(task: str, exports: Iterable[tuple[Path, str, dict[str, Any]]]) -> tuple[list[str], list[list[Any]]]:
    """Column names, and a row per exported file: its cost, and how it compares with the model.

    Args:
        task: The run's task.
        exports: Path, format and measurements (see `Export.to_dict`) of each file.
    """
    the_task, exports = find_task(task), list(exports)
    main = scored_title(the_task.main.title, [measured for _, _, measured in exports])
    columns: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
        ("size", lambda e: size_text(e.get("bytes", 0))),
        (main, lambda e: number_text(e.get(the_task.main.key))),
        ("lost", lambda e: f"{100 * e['drop']:+.2f}" if "drop" in e else ""),
        ("worst class", _worst),
        (the_task.same_title, lambda e: f"{e.get('top1_agreeing', '?')}/{e.get('pictures_compared', '?')}"),
        ("difference", lambda e: f"{e['largest_difference']:.1e}" if "largest_difference" in e else ""),
        ("ms, 1 core", lambda e: _milliseconds(e, "1")),
        ("2 cores", lambda e: _milliseconds(e, "2")),
        ("load s", lambda e: f"{e['load_seconds']:.2f}" if e.get("load_seconds") is not None else ""),
        ("memory", lambda e: size_text(1e6 * e["peak_memory_mb"]) if e.get("peak_memory_mb") is not None else ""),
    ]
    rows = [[name, str(path), *(of(e) for _, of in columns)] for path, name, e in exports]
    return ["format", "file", *(name for name, _ in columns)], rows


def scored_title(title: str, exports: Iterable[dict[str, Any]]) -> str:
    """The title of a metric with the split on which files were scored, where that was recorded and is the same."""
    splits = {export["split"] for export in exports if "split" in export}
    return f"{splits.pop()} {title}" if len(splits) == 1 else title


def _worst(measured: dict[str, Any]) -> str:
    """The class that loses most, and its points; empty if none loses."""
    lost = 100 * measured.get("worst_class_drop", 0.0)
    return f"{measured['worst_class']} {lost:+.1f}" if lost > 0 else ""


def _milliseconds(measured: dict[str, Any], cores: str) -> str:
    latency = measured.get("latency_ms", {}).get(cores)
    return "" if latency is None else f"{latency:.3g}"


class ExportList(list["Export"]):
    """A list of exported files that a notebook shows as a table.

    Args:
        exports: The files.
        task: The run's task.
    """

    def __init__(self, exports: Sequence["Export"], task: str) -> None:
        super().__init__(exports)
        self.task = task

    def _repr_html_(self) -> str:
        columns, rows = export_rows(self.task, [(one.path, one.format, one.to_dict()) for one in self])
        ends = signature_table({one.format: one.to_dict() for one in self})
        shown = table(TITLE.capitalize() + ".", columns, rows)
        title = "; ".join([signature.TITLE.capitalize(), *ends["words"]])
        return shown + (table(title + ".", ends["columns"], ends["rows"]) if ends["rows"] else "")
