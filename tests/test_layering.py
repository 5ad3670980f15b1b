"""The arrows of the design: which part may import which."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfransfer"
FOR_ALL = {
    "errors",
    "files",
    "progress",
    "recipe",
    "hyperrules",
    "tasks",
    "cache_home",
    "native_output",
    "allocator",
    "trust",
    "stopping",
    "html_parts",
}
# What each part may know besides itself and what is for all. Below-of-below is allowed: training may know data.
MAY_KNOW = {
    "errors": set(),
    "files": {"errors"},
    "progress": set(),
    "recipe": {"errors", "files"},
    "hyperrules": set(),
    "tasks": set(),
    "cache_home": set(),
    "native_output": set(),
    "allocator": set(),
    "trust": set(),
    "stopping": set(),
    "html_parts": set(),
    "data": set(),
    "base": set(),
    "features": {"data", "base"},
    "training": {"features", "data", "base"},
    "evaluation": {"data", "base"},
    "exports": {"evaluation", "data", "base"},
    "run_folder": {"data"},
    # A run is asked in Python what pipeline and looking answer: imported inside its methods only.
    "runs": {"data", "base", "run_folder", "pipeline", "looking"},
    "scoring": {"data", "evaluation", "runs", "run_folder"},
    "reporting": {"data", "evaluation", "runs", "run_folder", "scoring"},
    "looking": {"data", "evaluation", "runs", "run_folder", "scoring", "reporting"},
    "showing": {"terminal", "exports"},
    "showing_bases": {"terminal", "base"},
    "showing_findings": {"terminal"},
    "loading": {"data", "display"},
    "opening": {"data", "base", "training", "exports"},
    "resuming": {"data", "base", "training", "runs", "run_folder"},
    "beginning": {"data", "base", "training", "runs", "run_folder", "resuming"},
    "together": {"base", "training", "run_folder", "resuming"},
    "handing_over": {"data", "evaluation", "exports", "runs", "run_folder", "scoring"},
    "finishing": {
        "data",
        "training",
        "evaluation",
        "exports",
        "runs",
        "run_folder",
        "scoring",
        "handing_over",
        "reporting",
    },
    "job": {
        "reporting",
        "beginning",
        "resuming",
        "finishing",
        "handing_over",
        "together",
        "data",
        "training",
        "exports",
        "runs",
        "run_folder",
        "loading",
        "opening",
    },
    "pipeline": {
        "display",
        "job",
        "reporting",
        "beginning",
        "resuming",
        "handing_over",
        "data",
        "base",
        "training",
        "evaluation",
        "exports",
        "runs",
        "run_folder",
        "scoring",
        "loading",
        "opening",
    },
    "doctor": {"data", "base", "features", "training", "loading", "opening", "display"},
    "learning_rates": {"data", "evaluation", "training", "loading", "opening", "display"},
    "trial": {"job", "resuming", "run_folder", "runs", "training"},
    "sweeping": {
        "data",
        "base",
        "training",
        "evaluation",
        "display",
        "loading",
        "opening",
        "pipeline",
        "learning_rates",
        "run_folder",
        "trial",
    },
    "serving": {"data", "evaluation", "runs", "scoring"},
    "terminal": set(),
    "display": {"terminal"},
    "options": {"base"},
    "commands": {
        "options",
        "pipeline",
        "learning_rates",
        "sweeping",
        "data",
        "evaluation",
        "terminal",
        "showing",
        "features",
        "runs",
        "serving",
    },
    "cli": {
        "options",
        "commands",
        "pipeline",
        "doctor",
        "serving",
        "terminal",
        "showing",
        "showing_bases",
        "showing_findings",
        "opening",
        "data",
        "base",
        "features",
        "runs",
        "run_folder",
    },
    "__main__": {"cli"},
    "__init__": {
        "data",
        "base",
        "training",
        "loading",
        "pipeline",
        "doctor",
        "learning_rates",
        "sweeping",
        "runs",
        "serving",
    },
}


def part_of(file: Path) -> str:
    inside = file.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(file: Path) -> list[tuple[str, bool]]:
    """(part of tfransfer, whether it is imported when the file is loaded) for each import in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfransfer":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found += [(name, id(node) in top) for name in names if not name.startswith("__version__")]
        elif isinstance(node, ast.Import):
            found += [(a.name.split(".")[1], id(node) in top) for a in node.names if a.name.startswith("tfransfer.")]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_nothing_points_back(file):
    part = part_of(file)
    wrong = {name for name, _ in imports(file)} - MAY_KNOW[part] - FOR_ALL - {part}
    assert not wrong, f"{file.name} in {part} must not know {wrong}"


def test_each_part_is_listed():
    assert {part_of(file) for file in FILES} <= set(MAY_KNOW)


def test_no_two_parts_load_each_other():
    loads = {}
    for file in FILES:
        loads.setdefault(part_of(file), set()).update(name for name, at_load in imports(file) if at_load)
    for part, known in loads.items():
        back = {other for other in known if other != part and part in loads.get(other, set())}
        assert not back, f"{part} and {back} load each other"


def test_records_and_settings_need_no_tensorflow():
    for name in ["errors", "files", "progress", "recipe", "hyperrules", "runs", "run_folder", "cli", "terminal"]:
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        loaded = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
        assert not loaded & {"tensorflow", "keras"}, name


def test_files_are_short():
    long = {f.name: n for f in FILES if (n := len(f.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
