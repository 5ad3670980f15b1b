"""What is said about splits, in the words of the data: pictures or texts."""

from collections.abc import Sequence

from tfransfer.data.index import Example
from tfransfer.data.modality import IMAGE, MODALITIES, TEXT


def item_of(examples: Sequence[Example]) -> str:
    """What an example is called: "picture" or "text"."""
    return MODALITIES[TEXT if examples and examples[0].text is not None else IMAGE].item


def own_splits(item: str) -> str:
    """How users decide the splits themselves."""
    column = "a column of the table"
    folders = "" if item == MODALITIES[TEXT].item else "train, validation and test folders, or "
    return f"decide the splits yourself with {folders}{column}"


def class_text(name: str) -> str:
    """A class in a message; all data where the name is empty."""
    return f"class {name!r}" if name else "the data"


def inseparable(name: str, item: str) -> str:
    """Why a class cannot be in every split."""
    return (
        f"{class_text(name)} cannot be in train, validation and test without separating a group or identical {item}s: "
        f"add {item}s, or {own_splits(item)}."
    )


def too_few(name: str, clusters: Sequence[str], splits: Sequence[str], examples: Sequence[Example]) -> str:
    """Why a class has too few clusters for the splits."""
    item = item_of(examples)
    what = f"group{'s' * (len(clusters) != 1)} of {item}s" if any(e.group for e in examples) else f"different {item}"
    what += "s" * (len(clusters) != 1 and what.endswith(item))
    return (
        f"{class_text(name)} has {len(clusters)} {what}; a split into {', '.join(splits)} needs at least "
        f"{len(splits)}: add {item}s, or leave the class out, or {own_splits(item)}."
    )
