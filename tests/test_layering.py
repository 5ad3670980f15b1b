"""The arrows of the design: which part may import which, imports inside functions included."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfransfer"
# Each part and the parts that it may import besides FOR_ALL.
FOR_ALL = ["errors", "recipe", "hyperrules", "tasks", "system", "display"]
STAGES = ["features", "methods", "training", "evaluation", "exports"]
MAY_IMPORT = {
    "errors": [],
    "system": ["errors"],
    "hyperrules": [],
    "recipe": ["errors", "system"],
    "tasks": ["errors", "system", "display"],
    "display": ["errors", "system"],
    "data": FOR_ALL,
    "base": FOR_ALL,
    "features": [*FOR_ALL, "data", "base"],
    "methods": [*FOR_ALL, "data", "base", "features"],
    "training": [*FOR_ALL, "data", "base", "features", "methods"],
    "evaluation": [*FOR_ALL, "data", "base", "features"],
    "exports": [*FOR_ALL, "data", "base", "features", "evaluation"],
    "runs": [*FOR_ALL, "data", "base", *STAGES],
    **{part: [*FOR_ALL, "data", "base", *STAGES, "runs"] for part in ("search", "serving", "beam", "pipeline")},
    "cli": [*FOR_ALL, "data", "base", *STAGES, "runs", "search", "serving", "beam", "pipeline"],
    "__main__": ["cli"],
    "__init__": [*FOR_ALL, "data", "base", *STAGES, "runs", "search", "serving", "pipeline"],
}
FILES = {".".join(f.relative_to(PACKAGE).with_suffix("").parts): f for f in sorted(PACKAGE.rglob("*.py"))}


def imports(file: Path) -> set[str]:
    """The modules of the package that a file imports, at its top or inside a function; its version is for all."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("tfransfer."):
            module = ".".join(node.module.split(".")[1:])
            inside = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in FILES else module or "__init__" for name in inside}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("tfransfer.") for a in node.names if a.name.startswith("tfransfer.")}
    return {f"{name}.__init__" if f"{name}.__init__" in FILES else name for name in found - {"__init__"}}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there are none."""
    left = {name: set(known) - {name} for name, known in arrows.items()}
    while free := [name for name, known in left.items() if not known & set(left)]:
        for name in free:
            del left[name]
    return sorted(left)


@pytest.mark.parametrize("name", FILES)
def test_nothing_points_back(name):
    part = name.split(".")[0]
    wrong = {other for other in imports(FILES[name]) if other.split(".")[0] not in (part, *MAY_IMPORT[part])}
    assert not wrong, f"{name} must not import {wrong}"


def test_no_two_files_import_each_other():
    assert circle({name: imports(file) for name, file in FILES.items()}) == []


def test_a_circle_is_seen_through_functions_too():
    arrows = {name: imports(file) for name, file in FILES.items()}
    assert circle(arrows | {"runs.record": {"runs.run"}}), "runs.run imports runs.record"


def test_the_top_is_small():
    assert len({name for name in FILES if "." not in name} - {"__init__", "__main__"}) <= 9


def test_records_and_settings_need_no_tensorflow():
    runs = ["runs.run", "runs.run_folder", "runs.manifest", "training.plan", "features.plan"]
    for name in ["errors", "system.files", "display.progress", "recipe", "hyperrules", *runs]:
        tree = ast.parse(FILES[name].read_text(encoding="utf-8"))
        loaded = {a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names}
        assert not loaded & {"tensorflow", "keras"}, name


def test_files_are_short():
    long = {name: n for name, f in FILES.items() if (n := len(f.read_text(encoding="utf-8").splitlines())) > 400}
    assert not long
