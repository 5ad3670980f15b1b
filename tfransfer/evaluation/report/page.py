"""Render a report as one HTML file that needs no network."""

from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tfransfer.data.health.findings import KINDS
from tfransfer.data.modality import IMAGE, MODALITIES
from tfransfer.display.html import picture_data
from tfransfer.display.numbers import number_text, percent
from tfransfer.evaluation.report import drawing, figures
from tfransfer.evaluation.report.content import Content, Shown
from tfransfer.evaluation.report.words import command, facts, headline, other_figures, phases, summary
from tfransfer.system.files import size_text
from tfransfer.tasks.task import Task, task_of

_TEXT_SHOWN, _PHOTO_SIDE, _ODD_SIDE = 300, 224, 96


def render(content: Content) -> str:
    """The text of the HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "size": size_text, "figure": number_text}
    return environment.get_template("report.html.j2").render(**_values(content))


def _values(content: Content) -> dict[str, Any]:
    manifest, task = content.manifest, task_of(content.manifest)
    plan, data = manifest["plan"], manifest["data"]
    noun = MODALITIES[data.get("kind", IMAGE)].nouns
    scored = content.metrics.get(content.split, {})
    return {
        "name": content.folder,
        "task": task,
        "noun": noun,
        "split": content.split,
        "summary": summary(manifest, noun),
        "headline": headline(task, content.split, noun, scored, content.answers),
        "figures": other_figures(task, scored),
        "phases": phases(manifest),
        "plots": {name: Markup(drawn) for name, drawn in figures.plots_of(content, task).items()},
        "matrix": figures.matrix_of(scored, manifest["classes"]),
        "per_class": _per_class(task, scored),
        "legend": figures.legend(content, task),
        "mistakes": [_mistake(one) for one in content.shown],
        "wrong": _wrong(content, task),
        "heat_method": content.heat_method,
        "missing": content.missing,
        "map_method": content.answers.method if content.answers else "",
        "issues": _issues(content.issues, content.odd),
        "notes": data.get("notes", []),
        "counts": _counts(data),
        "exports": _exports(manifest.get("exports", {}), task),
        "signatures": content.signatures if content.signatures.get("rows") else None,
        "recipe": content.recipe,
        "command": command(content.recipe, content.folder),
        "versions": manifest.get("versions", {}),
        "facts": facts(manifest, plan),
    }


def _wrong(content: Content, task: Task) -> int | None:
    answers = content.answers
    if answers is None:
        return None
    wrong = task.wrong(answers.targets, answers.outputs, content.manifest.get("thresholds"))
    return None if wrong is None else int(wrong.sum())


def _advice(kind: str) -> str:
    return KINDS[kind].advice if kind in KINDS else ""


def _per_class(task: Task, scored: dict[str, Any]) -> dict[str, Any] | None:
    rows = scored.get("per_class")
    if not rows:
        return None
    head, table = task.class_table(rows)
    return {"columns": head[1:], "rows": [{"name": name, "values": values} for name, *values in table]}


def _mistake(shown: Shown) -> dict[str, Any]:
    mistake, file = shown.mistake, shown.name.rsplit("/", 1)[-1]
    probability = "" if mistake.probability is None else f" ({percent(mistake.probability)})"
    values: dict[str, Any] = {
        "name": shown.name, "target": mistake.target, "predicted": mistake.predicted,
        "probability": mistake.probability, "target_probability": mistake.target_probability,
        "photo": None, "heat": None,
        "text": shown.text if shown.text is None or len(shown.text) <= _TEXT_SHOWN else f"{shown.text[:_TEXT_SHOWN]}…",
    }  # fmt: skip
    if shown.pixels is not None:
        values["photo"] = picture_data(shown.pixels, _PHOTO_SIDE)
        values["photo_alt"] = f"{file}: labelled {mistake.target}, predicted as {mistake.predicted}{probability}."
    if shown.pixels is not None and shown.heat is not None:
        values["heat"] = picture_data(drawing.overlay(shown.pixels, shown.heat), _PHOTO_SIDE)
        values["heat_alt"] = f"Heat map of {file}: the evidence for {mistake.predicted} is {_where(shown.heat)}."
    return values


def _where(heat: np.ndarray) -> str:
    part = drawing.brightest_part(heat)
    return part if part == "nowhere" else f"mostly at the {part}"


def _issues(rows: list[dict[str, str]], odd: dict[str, tuple[np.ndarray, ...]]) -> list[dict[str, Any]]:
    """A row for each kind: count, an example with its images, advice."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        kinds.setdefault(row.get("kind", "").replace(" ", "-"), []).append(row)
    return [
        {"kind": kind, "count": len(issues), "path": issues[0].get("path", ""), "detail": issues[0].get("detail", ""),
         "skipped": sum(row.get("set_aside") == "true" for row in issues), "advice": _advice(kind),
         "photos": [picture_data(pixels, _ODD_SIDE) for pixels in odd.get(kind, ())]}
        for kind, issues in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]  # fmt: skip


def _counts(data: dict[str, Any]) -> dict[str, Any] | None:
    counts = data.get("counts", {})
    if not counts or not any(counts.values()):
        return None
    names = list(dict.fromkeys(name for of_split in counts.values() for name in of_split))
    return {"splits": list(counts), "rows": [(name, *(of.get(name, 0) for of in counts.values())) for name in names]}


def _exports(exports: dict[str, dict[str, Any]], task: Task) -> dict[str, Any] | None:
    """A row for each file, without columns that are empty in all rows."""
    if not exports:
        return None
    rows = []
    for kind, export in exports.items():
        latency = export.get("latency_ms") if isinstance(export.get("latency_ms"), dict) else {}
        compared, same = export.get("pictures_compared"), export.get("top1_agreeing")
        row: dict[str, Any] = {
            "format": kind, "file": export.get("file", ""), "size": size_text(export.get("bytes", 0)),
        }  # fmt: skip
        row |= {f"ms, {n} thread{'s' if n != '1' else ''}": _known(ms, ".1f") for n, ms in (latency or {}).items()}
        row |= {
            f"{export.get('split', '')} {task.main.title}".strip(): task.main.text(export.get(task.main.key)),
            "agreement": _share(export.get("agreement")) or (f"{same}/{compared}" if compared else ""),
            "largest class drop": _share(export.get("worst_class_drop")),
            "loads in": _known(export.get("load_seconds"), ".2f", " s"),
            "peak memory": _known(export.get("peak_memory_mb"), ".0f", " MB"),
            "difference": _known(export.get("largest_difference"), ".1e"),
        }
        rows.append(row)
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if any(row.get(key) for row in rows)]
    return {"columns": columns, "rows": [[row.get(key, "") for key in columns] for row in rows]}


def _known(value: Any, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if isinstance(value, int | float) else ""


def _share(value: Any) -> str:
    return percent(value) if isinstance(value, int | float) else ""
