"""What `tfransfer bases` shows: all bases, or the blocks of one."""

from typing import Any

from tfransfer.base.records import BASES
from tfransfer.terminal import Terminal


def list_bases(terminal: Terminal) -> None:
    """A row per base."""
    from tfransfer.base.listing import bases  # here, so that nothing is looked for on disk before it is asked for

    rows = bases()
    columns = ["base", "pixels", "smallest", "features", "parameters", "weights"]
    cells = [
        [b.name, b.image_size or "texts", b.smallest or "", b.features, b.parameters, _where(b)] for b in rows
    ]  # fmt: skip
    terminal.table("", columns, cells)
    terminal.emit({"bases": [vars(b) for b in rows]})


def _where(base: Any) -> str:
    if not base.image_size:
        return "none: not pretrained"
    if base.built_in:
        return "built in"
    return "on this machine" if base.weights_here else "to download"


def show_base(terminal: Terminal, name: str, built: Any) -> None:
    """A row per block of a base.

    Args:
        terminal: Where to.
        name: As the user wrote it.
        built: The BuiltBase.
    """
    total = len(built.blocks)
    rows = [
        [total - i, b.name, len(b.layers), b.parameters, b.cut_below.name if b.cut_below else "more than one tensor"]
        for i, b in reversed(list(enumerate(built.blocks)))
    ]
    features = built.model.output_shape[-1]
    taken = f"{built.image_size} pixels" if built.image_size else "texts"
    terminal.say(f"{name}: {built.model.count_params():,} parameters, {features} features, {taken}")
    if built.module is not None:
        _show_module(terminal, built)
    else:
        terminal.table("", ["--unfreeze", "block", "layers", "parameters", "cut in front of it"], rows, left=2)
    record = BASES.get(name)
    if record is not None and record.family.closing:
        terminal.say(
            f"{record.family.closing} behind {built.blocks[-1].name} belongs to it: unfrozen with the top block"
        )
    if record is not None and not record.family.clean:
        terminal.say(f"{name} has no clean block boundary: more than one tensor crosses between its blocks")
    keys = ("unfreeze", "block", "layers", "parameters", "cut")
    terminal.emit({"base": name, "blocks": [dict(zip(keys, row, strict=True)) for row in rows]})


def _show_module(terminal: Terminal, built: Any) -> None:
    """Of a TF-Hub module the regular expressions that stand for its blocks, or its variables' names."""
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
        terminal.say(f"its variables carry no block numbers; unfreeze all, or by a regular expression: {names}, ...")
