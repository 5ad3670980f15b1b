"""What depends on the task, or on whether examples are pictures or texts, is asked of them and nowhere compared."""

import ast
from pathlib import Path

import pytest

from tfransfer.data.modality import MODALITIES
from tfransfer.tasks.task import TASKS

PACKAGE = Path(__file__).parents[2] / "tfransfer"
NAMES = {"SINGLE_LABEL", "MULTI_LABEL", "REGRESSION", "IMAGE", "TEXT", "CLASSIFICATION"}
CLASSES = {"SingleLabel", "MultiLabel", "Regression"}
WORDS = {*TASKS, *MODALITIES}
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent.name != "tasks"]


def compared(source):
    """Lines that compare with a task's or a modality's name, or ask what class a task is of."""
    found = []
    for node in ast.walk(ast.parse(source)):
        inside = {
            ast.Compare: lambda n: [n.left, *n.comparators],
            ast.Match: lambda n: [p.value for case in n.cases for p in ast.walk(case) if isinstance(p, ast.MatchValue)],
            ast.Call: lambda n: n.args if isinstance(n.func, ast.Name) and n.func.id == "isinstance" else [],
        }.get(type(node), lambda n: [])(node)
        parts = [part for one in inside for part in getattr(one, "elts", [one])]
        names = {part.id for part in parts if isinstance(part, ast.Name)}
        words = {part.value for part in parts if isinstance(part, ast.Constant)}
        if names & (NAMES | CLASSES) or words & WORDS:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_outside_compares_with_a_name(file):
    assert compared(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = run.task == REGRESSION",
        "if dataset.kind != TEXT: pass",
        'y = task == "multi-label"',
        "isinstance(task, Regression)",
        "z = 1 if task in (SINGLE_LABEL, MULTI_LABEL) else 2",
        'match task:\n    case "regression": pass',
    ],
)
def test_a_comparison_is_seen(line):
    assert compared(line)
