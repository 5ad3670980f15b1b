"""The blocks of a TF-Hub module, which only the names of its variables tell."""

import re
from collections.abc import Sequence

from tfransfer.errors import SettingError

# How names number their blocks, the most telling first; each group is a place in the order.
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
    """The blocks that variables' names tell, from the lowest to the highest.

    A variable without a number belongs to the block of the variable before it, those after the last numbered one to
    the highest block, and those before the first to none.

    Args:
        names: From the input's side to the output's.

    Returns:
        (block's name, regular expression that finds the names of this block and no other) of each; empty where the
        names carry no numbers.
    """
    # One name can fit several styles ("stage2/block1", "block1"), and a module's head or stem may fit one by accident:
    # the style that fits most names is the module's own, of equals the more telling one.
    finds = [[style.search(name) for name in names] for style in _BLOCK_NAMES]
    matches = max(finds, key=lambda found: sum(match is not None for match in found))
    order = {match.group(): _place(match) for match in matches if match}
    # By number and not by appearance: variables are listed in the order in which they were made or by name, where
    # block 10 stands before block 2.
    blocks = sorted(order, key=lambda block: order[block])
    members: dict[str, list[str]] = {block: [] for block in blocks}
    # Projections and norms beside a numbered layer belong to its block; what follows the last number is the top.
    last = max((index for index, match in enumerate(matches) if match), default=-1)
    current = ""
    for index, (name, match) in enumerate(zip(names, matches, strict=True)):
        current = match.group() if match else blocks[-1] if blocks and index > last else current
        if current:
            members[current].append(name)
    return [(block, _finding(block, members[block], names)) for block in blocks]


def _place(match: re.Match[str]) -> tuple[int, ...]:
    parts = [part for part in match.groups() if part]
    return tuple(int(part) if part.isdigit() else ord(part.lower()) for part in parts)


def _finding(block: str, members: Sequence[str], names: Sequence[str]) -> str:
    """A regular expression that finds the members among the names: readable where the block's name tells them all."""
    plain = rf"(?:^|[/_.:]){re.escape(block)}(?![0-9a-zA-Z])"
    found = {name for name in names if re.search(plain, name)}
    exact = [name for name in members if name not in found]
    if found - set(members):
        plain, exact = "", list(members)
    listed = f"^(?:{'|'.join(map(re.escape, exact))})$" if exact else ""
    return "|".join(part for part in (plain, listed) if part)


def top_pattern(blocks: Sequence[tuple[str, str]], count: int) -> str:
    """A regular expression that finds the variables of the highest blocks.

    Args:
        blocks: As `name_blocks` gives them.
        count: How many of them.

    Raises:
        SettingError: There are fewer, or none at all.
    """
    if not blocks:
        raise SettingError(
            "the names of the module's variables carry no block numbers, so there is no top block to unfreeze: "
            "unfreeze all of it, none, or the names that contain a pattern."
        )
    if not 1 <= count <= len(blocks):
        raise SettingError(f"the module has {len(blocks)} blocks; {count} cannot be unfrozen.")
    return "|".join(pattern for _, pattern in blocks[-count:])
