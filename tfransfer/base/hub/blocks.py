"""Find the blocks of a TF-Hub module from its variables' names."""

import re
from collections.abc import Sequence

from tfransfer.errors import SettingError

# Styles of numbering blocks in names, the most specific first; the groups are the block's position.
_BLOCK_NAMES = tuple(
    re.compile(r"(?:^|(?<=[/_.:]))" + name + r"(?![0-9a-zA-Z])", re.IGNORECASE)
    for name in (
        r"conv(\d+)_block(\d+)",
        r"stages?[_./]?(\d+)(?:[_./]blocks?[_./]?(\d+))?",
        r"block_group[_.]?(\d+)",
        r"expanded_conv_(\d+)",
        r"blocks?[_./]?(\d+)([a-z])?",
        r"layers?[_./]?(\d+)",
        r"mixed_?(\d+)([a-z])?",
    )
)


def name_blocks(names: Sequence[str]) -> list[tuple[str, str]]:
    """Group variables into blocks by the numbers in their names, lowest block first.

    A variable without a number belongs to the block of the variable before it. Those after the last numbered one belong
    to the highest block, those before the first to none.

    Args:
        names: Variable names, from input to output.

    Returns:
        (block name, regular expression that matches only this block's variable names) for each block; empty if the
        names carry no numbers.
    """
    # A name can match several styles ("stage2/block1", "block1"), and a stem or head may match one by accident: take
    # the style that matches most names, and the more specific one of a tie.
    by_style = [[style.search(name) for name in names] for style in _BLOCK_NAMES]
    matches = max(by_style, key=lambda style_matches: sum(match is not None for match in style_matches))
    order = {match.group(): _position(match) for match in matches if match}
    # Sort by number, because variables may be listed by name, with block 10 before block 2.
    blocks = sorted(order, key=lambda block: order[block])
    members: dict[str, list[str]] = {block: [] for block in blocks}
    # Unnumbered projections and norms belong to the block before them, those after the last number to the top block.
    last = max((index for index, match in enumerate(matches) if match), default=-1)
    current = ""
    for index, (name, match) in enumerate(zip(names, matches, strict=True)):
        current = match.group() if match else blocks[-1] if blocks and index > last else current
        if current:
            members[current].append(name)
    return [(block, _matching(block, members[block], names)) for block in blocks]


def _position(match: re.Match[str]) -> tuple[int, ...]:
    parts = [part for part in match.groups() if part]
    return tuple(int(part) if part.isdigit() else ord(part.lower()) for part in parts)


def _matching(block: str, members: Sequence[str], names: Sequence[str]) -> str:
    """A regular expression that matches exactly the members: the block's name where that suffices, else a list."""
    plain = rf"(?:^|[/_.:]){re.escape(block)}(?![0-9a-zA-Z])"
    matched = {name for name in names if re.search(plain, name)}
    exact = [name for name in members if name not in matched]
    if matched - set(members):
        plain, exact = "", list(members)
    listed = f"^(?:{'|'.join(map(re.escape, exact))})$" if exact else ""
    return "|".join(part for part in (plain, listed) if part)


def top_pattern(blocks: Sequence[tuple[str, str]], count: int) -> str:
    """A regular expression that matches the variables of the highest blocks.

    Args:
        blocks: From `name_blocks`.
        count: How many blocks.

    Raises:
        SettingError: There are fewer, or none at all.
    """
    if not blocks:
        raise SettingError(
            "the names of the module's variables carry no block numbers, so there is no top block to unfreeze: "
            "unfreeze all, none, or the variables that match a pattern."
        )
    if not 1 <= count <= len(blocks):
        raise SettingError(f"the module has {len(blocks)} blocks; {count} cannot be unfrozen.")
    return "|".join(pattern for _, pattern in blocks[-count:])
