"""`tfransfer bases`: list the pretrained bases, or one base's blocks."""

from typing import Any

import click

from tfransfer.base.records import BASES, TEXT_BASES, find_base
from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import JSON
from tfransfer.display.terminal import Terminal
from tfransfer.recipe import Recipe


@click.command()
@click.argument("name", required=False)
@JSON
def bases(name: str | None, as_json: bool) -> None:
    """List the pretrained bases, or show the blocks of base NAME.

    NAME may also be a TF-Hub module (a URL, folder or .tar.gz) or kerashub:PRESET. `train --base` takes the same. The
    blocks are numbered from the top, as for `train --unfreeze`.
    """
    terminal = Terminal(as_json)
    if name is None:
        list_bases(terminal)
        return
    recipe = Recipe(base=name, weights="random")
    if not set("/.:") & set(name) and name not in TEXT_BASES:
        find_base(name)  # refuse a mistyped name before TensorFlow is imported
    load_pipeline()
    from tfransfer.base.open import named_base  # here, because it imports TensorFlow

    show_base(terminal, name, named_base(recipe, "float32", terminal.say))


def list_bases(terminal: Terminal) -> None:
    """Print a row per base."""
    from tfransfer.base.listing import bases  # here, so that --help stays fast

    rows = bases()
    columns = ["base", "pixels", "smallest", "features", "parameters", "weights"]
    cells = [
        [b.name, b.image_size or "texts", b.smallest or "", b.features, b.parameters, _weights_source(b)] for b in rows
    ]  # fmt: skip
    terminal.table("", columns, cells)
    terminal.emit({"bases": [vars(b) for b in rows]})


def _weights_source(base: Any) -> str:
    if base.where == "untrained":
        return "none: not pretrained"
    if base.built_in:
        return "built in"
    return "on this machine" if base.weights_here else "to download"


def show_base(terminal: Terminal, name: str, built: Any) -> None:
    """Print a row per block of a base.

    Args:
        terminal: Where to print.
        name: The base as the user wrote it.
        built: The BuiltBase.
    """
    total = len(built.blocks)
    rows = [
        [total - i, b.name, len(b.layers), b.parameters, b.cut_below.name if b.cut_below else "more than one tensor"]
        for i, b in reversed(list(enumerate(built.blocks)))
    ]
    features = built.model.output_shape[-1]
    expects = f"{built.image_size} pixels" if built.image_size else "texts"
    terminal.say(f"{name}: {built.model.count_params():,} parameters, {features} features, {expects}")
    if built.module is not None:
        _show_module(terminal, built)
    else:
        terminal.table("", ["--unfreeze", "block", "layers", "parameters", "cut before it"], rows, left=2)
    record = BASES.get(name)
    if record is not None and record.family.closing:
        terminal.say(f"{record.family.closing} after {built.blocks[-1].name} is unfrozen with the top block")
    if record is not None and not record.family.clean:
        terminal.say(f"{name} has no clean block boundary: more than one tensor crosses between its blocks")
    keys = ("unfreeze", "block", "layers", "parameters", "cut")
    terminal.emit({"base": name, "blocks": [dict(zip(keys, row, strict=True)) for row in rows]})


def _show_module(terminal: Terminal, built: Any) -> None:
    """Print the regular expressions that select a TF-Hub module's blocks, or its variable names if it has no blocks."""
    patterns = built.module.block_patterns()
    rows = [
        [len(patterns) - i, name, built.blocks[i].parameters, pattern]
        for i, (name, pattern) in reversed(list(enumerate(patterns)))
    ]
    if not built.module.can_train:
        terminal.say(f"it cannot be trained: {built.module.why_frozen}")
    elif rows:
        terminal.table("", ["--unfreeze", "block", "parameters", "variables"], rows, left=2)
    else:
        names = ", ".join(built.module.variable_names[:10])
        terminal.say(f"its variables have no block numbers; unfreeze all, or by a regular expression: {names}, ...")
