"""What a tree of picture folders means: classes, splits above classes, or no labels; unclear layouts are refused.

A layout that is misread gives a model that looks good and has learned nothing, such as to tell the folder `train` from
the folder `test`. So folder names are recognised as splits only where the folders below them agree, and where names
look like splits but nothing below bears it out, the layout is refused before training.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tfransfer.data.index import Row
from tfransfer.errors import DataError

_SPLIT_WORDS = {
    "train": ("train", "training", "trainset", "trainval"),
    "validation": ("val", "valid", "validation", "valset", "validset", "dev", "devset", "eval", "evaluation"),
    "test": ("test", "testing", "testset", "holdout", "heldout"),
}
_SPLIT_OF = {word: split for split, words in _SPLIT_WORDS.items() for word in words}
# Where `validation` is there under another name, a folder of this name is what is tested on.
_EVALUATION = {"eval", "evaluation"}
# What stands beside the split's name without saying anything else: "train_images", "test set 2", "seg_train".
_GENERIC = {
    "data", "dataset", "set", "split", "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures",
    "pics", "jpg", "jpeg", "png", "folder", "dir", "files", "stage", "stg", "part", "fold", "new", "final", "full",
    "small", "sample", "samples", "resized", "cropped",
}  # fmt: skip
_UNLABELED = {"unlabeled", "unlabelled", "unannotated", "nolabel", "nolabels"}
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass
class _Folder:
    """A folder with pictures: how many lie in it directly, and its folders that have some."""

    direct: int = 0
    folders: dict[str, "_Folder"] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.direct + sum(one.count for one in self.folders.values())


@dataclass(frozen=True)
class Layout:
    """How a tree of folders is read.

    Attributes:
        rows: The pictures with a class, and their split where the folders give one.
        unlabeled: Folders of pictures without labels that are left out: the folder, and how many pictures it has.
        notes: What a user should know about the reading, a sentence each.
        parents: The folders that hold the class folders; "" for the top.
    """

    rows: tuple[Row, ...]
    unlabeled: dict[str, int]
    notes: tuple[str, ...]
    parents: tuple[str, ...] = ("",)

    def is_unlabeled(self, path: str) -> bool:
        """Whether a picture lies in a folder without labels."""
        parts = path.split("/")
        return any("/".join(parts[:depth]) in self.unlabeled for depth in range(1, len(parts)))


def read_layout(root: str, paths: Sequence[str]) -> Layout:
    """Tell classes and splits from the places of pictures.

    Args:
        root: The folder, for messages.
        paths: Every picture, relative to the folder with forward slashes; those that lie in it directly have no class.

    Raises:
        DataError: The top folders look like splits but the folders below them do not agree, or the class folders are
            one level further down.
    """
    tops = _tree(paths).folders
    if not tops:
        return Layout((), {}, ())
    splits = _splits(tops)
    if any(split == "train" and _has_classes(name, tops[name]) for name, split in splits.items()):
        return _split_layout(root, tops, splits, paths)
    return _class_layout(root, tops, splits, paths)


def read_known(paths: Sequence[str], classes: Sequence[str]) -> tuple[Row, ...]:
    """The pictures below folders with known classes, whatever stands above them; others have their top folder's name.

    Args:
        paths: As for `read_layout`.
        classes: Of a model.
    """
    known, rows = set(classes), []
    for path in paths:
        folders = path.split("/")[:-1]
        if folders:
            rows.append(Row(path, next((name for name in folders if name in known), _unknown_class(folders))))
    return tuple(rows)


def _unknown_class(folders: Sequence[str]) -> str:
    """The folder below one named like a split, else the topmost."""
    return folders[1] if len(folders) > 1 and split_of(folders[0]) else folders[0]


def split_of(name: str) -> str:
    """The split that a folder is named after, such as "train" for "Train_images" and "seg_train"; else "".

    "train" wins in names with several, such as "train_val".
    """
    found = [_SPLIT_OF[word] for word in _words(name) if word in _SPLIT_OF]
    return "train" if "train" in found else found[0] if found else ""


def is_generic(name: str) -> bool:
    """Whether a folder's name says nothing about what is on its pictures, such as "images_2" and "train"."""
    return not _rest(name)


def _words(name: str) -> list[str]:
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", name))]
    return ["holdout"] if words in (["hold", "out"], ["held", "out"]) else words


def _rest(name: str) -> frozenset[str]:
    """What a folder's name says beside its split."""
    return frozenset(word for word in _words(name) if word not in _SPLIT_OF and word not in _GENERIC)


def _tree(paths: Sequence[str]) -> _Folder:
    tree = _Folder()
    for path in paths:
        folder = tree
        for name in path.split("/")[:-1]:
            folder = folder.folders.setdefault(name, _Folder())
        folder.direct += 1
    return tree


def _splits(tops: dict[str, _Folder]) -> dict[str, str]:
    """The top folders that are named like splits of one data set.

    A name that says more, such as "test tube", is one only if the others say the same: "flowers_train" and
    "flowers_test".
    """
    named = {name: split for name in tops if (split := split_of(name))}
    said = [_rest(name) for name in named]
    longest = max(said, key=len, default=frozenset())
    if any(not rest <= longest for rest in said):
        return {name: split for name, split in named.items() if not _rest(name)}
    if len(named) == 1 and longest:
        return {}
    if "validation" in {split for name, split in named.items() if not _EVALUATION & set(_words(name))}:
        named = {name: "test" if _EVALUATION & set(_words(name)) else split for name, split in named.items()}
    return named


def _unwrapped(name: str, folder: _Folder) -> tuple[_Folder, int]:
    """The folder below wrappers that say nothing new, such as "seg_train/seg_train", and how many these are."""
    depth = 0
    while not folder.direct and len(folder.folders) == 1:
        ((inner, below),) = folder.folders.items()
        same = inner.lower() == name.lower() or (split_of(inner) and split_of(inner) == split_of(name))
        if not same and not (set(_words(inner)) <= _GENERIC and not below.direct):
            break
        folder, depth = below, depth + 1
    return folder, depth


def _classes(name: str, folder: _Folder) -> set[str]:
    """The class folders in a split's folder."""
    return {one for one in _unwrapped(name, folder)[0].folders if not _is_unlabeled(one)}


def _is_unlabeled(name: str) -> bool:
    words = _words(name)
    return bool(_UNLABELED & {*words, "".join(words)})


def _has_classes(name: str, folder: _Folder) -> bool:
    """Whether a split's folder holds class folders; a class that is called "train" may have a folder in it, too."""
    return bool(_classes(name, folder)) and 2 * folder.direct < folder.count


def _split_layout(root: str, tops: dict[str, _Folder], splits: dict[str, str], paths: Sequence[str]) -> Layout:
    trained = {name for top, split in splits.items() if split == "train" for name in _classes(top, tops[top])}
    unlabeled: dict[str, int] = {}
    used: dict[str, str] = {}
    for name, folder in tops.items():
        classes = _classes(name, folder)
        if name in splits and classes & trained:
            _require_agreement(root, name, classes, trained)
            used[name] = splits[name]
        elif name in trained or classes & trained:
            raise DataError(
                f"{root} has {_listed(splits)}, which look like splits, and beside them {name!r}, which looks like a "
                f"{'class' if name in trained else 'copy or another split'}: move it elsewhere, or rename it."
            )
        elif name in splits and len(classes) > 1:
            _require_agreement(root, name, classes, trained)
        else:
            unlabeled[name] = folder.count
    strangers = [name for name in unlabeled if name not in splits and not _is_unlabeled(name)]
    if strangers and len(splits) == 1:
        raise DataError(
            f"{root} has {_listed(splits)}, which looks like a split with the classes {_listed(trained)}, and beside "
            f"it {_listed(strangers)}: move these elsewhere if they have no labels; if all of them are classes, put "
            f"the pictures of {_listed(splits)} directly into it."
        )
    depths = {name: _unwrapped(name, tops[name])[1] + 1 for name in used}
    rows = []
    for path in paths:
        parts = path.split("/")
        depth = depths.get(parts[0], len(parts))
        if len(parts) > depth + 1:
            if _is_unlabeled(parts[depth]):
                place = "/".join(parts[: depth + 1])
                unlabeled[place] = unlabeled.get(place, 0) + 1
            else:
                rows.append(Row(path, parts[depth], used[parts[0]]))
    parents = {"/".join(path.split("/")[: depths[name]]) for path in paths if (name := path.split("/")[0]) in depths}
    return Layout(tuple(rows), unlabeled, tuple(_renamed(used)), tuple(sorted(parents)))


def _renamed(used: dict[str, str]) -> list[str]:
    """Which folder is which split, where its name is not the split's own."""
    plain = {"train", "training", "val", "valid", "validation", "test", "testing"}
    if all(name.lower() in plain for name in used):
        return []
    return ["folders taken as splits: " + ", ".join(f"{name!r} as {split}" for name, split in used.items())]


def _require_agreement(root: str, name: str, classes: set[str], trained: set[str]) -> None:
    if 2 * len(classes & trained) < min(len(classes), len(trained)):
        raise DataError(
            f"the folders below {root}/{name} ({_listed(classes)}) are not those of the training folder "
            f"({_listed(trained)}): are {name!r} and the others splits or classes? Give all splits the same class "
            "folders, or rename the folders if they are classes."
        )


def _class_layout(root: str, tops: dict[str, _Folder], splits: dict[str, str], paths: Sequence[str]) -> Layout:
    _refuse_splits_without_classes(root, tops, splits)
    _refuse_same_folders(root, tops)
    _refuse_one_level_too_high(root, tops)
    held_out = {name for name, split in splits.items() if split != "train" and not tops[name].folders}
    if any(name.lower() == "invalid" for name in tops):
        held_out -= {name for name in held_out if name.lower() == "valid"}
    without = {name for name in tops if _is_unlabeled(name)} | held_out
    labelled = {name for name in tops if name not in without}
    if len(labelled) < 2 and not any(map(_is_unlabeled, without)):
        without, labelled = set(), set(tops)
    rows = tuple(Row(path, parts[0]) for path in paths if len(parts := path.split("/")) > 1 and parts[0] in labelled)
    notes = [f"the folder {name!r} is taken as a class" for name in splits if name in labelled]
    if all(not tops[name].direct for name in labelled) and len(labelled) > 1:
        example = next(iter(sorted(labelled)))
        below = next(iter(sorted(tops[example].folders)))
        notes.append(f"the pictures are two levels deep ({example}/{below}): the upper folders are the classes")
    return Layout(rows, {name: tops[name].count for name in sorted(without)}, tuple(notes))


def _refuse_splits_without_classes(root: str, tops: dict[str, _Folder], splits: dict[str, str]) -> None:
    if len(splits) < 2:
        return
    if "train" in splits.values():
        raise DataError(
            f"{_listed(splits)} in {root} look like splits, but there are no class folders in "
            f"{_listed(n for n in splits if splits[n] == 'train')}: put the pictures of each class into a folder of "
            f"its own, for example {root}/{next(iter(splits))}/cat/1.jpg, or give a table with the columns path and "
            "label. If they are classes, rename one."
        )
    if len(splits) == len(tops) or any(tops[name].folders for name in splits):
        raise DataError(
            f"{_listed(splits)} in {root} look like splits, but none is for training: name that one 'train', or "
            "rename the folders if they are classes."
        )


def _refuse_same_folders(root: str, tops: dict[str, _Folder]) -> None:
    if len(tops) < 2 or any(2 * folder.direct >= folder.count for folder in tops.values()):
        return
    below = [{name for name in folder.folders if not _is_unlabeled(name)} for folder in tops.values()]
    shared, every = set.intersection(*below), set.union(*below)
    if 2 * len(shared) <= max(map(len, below)):
        return
    splits = {split_of(name) for name in every}
    if all(splits) and "train" in splits:
        raise DataError(
            f"each folder of {root} has the folders {_listed(every)}, which look like splits: put them on top, for "
            f"example {root}/train/{next(iter(sorted(tops)))}/1.jpg, or give a table with the columns path, label, "
            "split."
        )
    raise DataError(
        f"the folders {_listed(tops)} of {root} all have the same folders in them ({_listed(shared)}). If "
        f"{_listed(shared, 2)} are the classes, point at one of the upper folders, or name these train, validation and "
        f"test; if {_listed(tops, 2)} are the classes, put their pictures directly into them."
    )


def _refuse_one_level_too_high(root: str, tops: dict[str, _Folder]) -> None:
    if len(tops) > 1:
        return
    ((name, folder),) = tops.items()
    place = name
    while not folder.direct and len(folder.folders) == 1:
        ((inner, folder),) = folder.folders.items()
        place = f"{place}/{inner}"
    if not folder.direct and len(folder.folders) > 1:
        raise DataError(
            f"{root} has one folder only, {name!r}, and the pictures are further down. Did you mean {root}/{place}, "
            f"which has {len(folder.folders)} folders?"
        )


def _listed(names: Iterable[str], most: int = 4) -> str:
    listed = sorted(names)
    return ", ".join(map(repr, listed[:most])) + (", ..." if len(listed) > most else "")
