"""The style's limits: functions fit on a screen, and what takes many arguments takes a value that names them."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "tfransfer"
MOST_ARGUMENTS, MOST_LINES = 6, 60
# How many functions and constructors have more positional arguments than that; the number may only fall, to 8.
MOST_EXCEPTIONS = 8
Function = ast.FunctionDef | ast.AsyncFunctionDef


def definitions() -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Each function, method and class of the package but those of the command line, whose arguments are its options."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.relative_to(PACKAGE).parts[0] != "cli":
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, Function | ast.ClassDef):
                    yield f"{file.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def arguments(node: Function | ast.ClassDef) -> int:
    """How many positional arguments a function takes, or a dataclass's constructor; other classes have `__init__`."""
    if isinstance(node, ast.ClassDef):
        named = [ast.unparse(part.annotation) for part in node.body if isinstance(part, ast.AnnAssign)]
        named = named[: named.index("KW_ONLY")] if "KW_ONLY" in named else named
        return sum("ClassVar" not in kind for kind in named) if is_positional_dataclass(node) else 0
    named = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def is_positional_dataclass(node: ast.ClassDef) -> bool:
    told = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(d.split("(")[0] == "dataclass" and "kw_only=True" not in d for d in told)


def test_few_functions_and_constructors_take_many_positional_arguments():
    many = {name: count for name, node in definitions() if (count := arguments(node)) > MOST_ARGUMENTS}
    assert len(many) <= MOST_EXCEPTIONS, "\n".join(f"{name}: {count}" for name, count in many.items())


def test_functions_fit_on_a_screen():
    long = {
        name: lines for name, node in definitions()
        if isinstance(node, Function) and (lines := node.end_lineno - node.lineno + 1) > MOST_LINES
    }  # fmt: skip
    assert not long


def test_arguments_are_counted_as_a_caller_gives_them():
    source = "@dataclass(frozen=True)\nclass A:\n    a: int\n    b: int = 0\n\n    def f(self, a, /, b, *, c): ...\n"
    (made,) = ast.parse(source).body
    assert (arguments(made), arguments(made.body[2])) == (2, 2)
    (keywords,) = ast.parse(source.replace("frozen", "kw_only")).body
    assert arguments(keywords) == 0
    (some,) = ast.parse(source.replace("b: int = 0", "_: KW_ONLY\n    b: int = 0")).body
    assert arguments(some) == 1
