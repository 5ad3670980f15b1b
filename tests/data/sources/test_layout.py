"""Which folders are classes, which are splits, which are left out, and which layouts are refused."""

import random

import pytest

from tfransfer.data.sources.layout import read_known, read_layout, split_of
from tfransfer.errors import DataError


def tree(*folders):
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(5)]


def read(*folders):
    """Classes by split, and what is left out."""
    layout = read_layout("photos", tree(*folders))
    assert len(layout.rows) + sum(layout.unlabeled.values()) == 5 * len(folders)
    found = {}
    for row in layout.rows:
        found.setdefault(row.split, set()).add(row.target)
    return found, sorted(layout.unlabeled)


def below(classes, *splits):
    return [f"{split}/{name}" for split in splits for name in classes]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Training", "train"), ("train_images", "train"), ("seg_train", "train"),
        ("train2017", "train"), ("TrainSet", "train"), ("trainval", "train"), ("train_val", "train"),
        ("val", "validation"), ("valid", "validation"), ("VALIDATION", "validation"), ("dev", "validation"),
        ("eval-set", "validation"), ("test", "test"), ("test1", "test"), ("testing", "test"), ("hold-out", "test"),
        ("holdout", "test"), ("flowersTest", "test"), ("cat", ""), ("constraint", ""), ("testimony", ""),
        ("invalid", ""), ("developer", ""), ("medieval", ""), ("trainers", ""), ("2017", ""),
    ],
)  # fmt: skip
def test_split_words_are_recognised_with_prefixes_and_suffixes_and_not_inside_words(name, split):
    assert split_of(name) == split


CLASSES = ("cat", "dog", "elk")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), ("train", "validation", "test")),
        (("train", "dev"), ("train", "validation")),
        (("train", "eval"), ("train", "validation")),
        (("train", "val", "eval"), ("train", "validation", "test")),
        (("train", "holdout"), ("train", "test")),
        (("training_set", "test_set"), ("train", "test")),
        (("training_set/training_set", "test_set/test_set"), ("train", "test")),
        (("seg_train/seg_train", "seg_test/seg_test"), ("train", "test")),
        (("train/images", "valid/images"), ("train", "validation")),
        (("flowers_train", "flowers_test"), ("train", "test")),
        (("train", "test_stg1"), ("train", "test")),
        (("train2017", "val2017"), ("train", "validation")),
        (("train-1", "train-2", "test"), ("train", "train", "test")),
        (("Train",), ("train",)),
    ],
)
def test_splits_are_recognised_where_the_folders_below_agree(names, splits):
    found, left_out = read(*below(CLASSES, *names))
    assert found == {split: set(CLASSES) for split in splits}
    assert not left_out


def test_unusual_names_of_splits_are_said():
    (note,) = read_layout("photos", tree(*below(CLASSES, "seg_train", "seg_test"))).notes
    assert "'seg_train' as train" in note
    assert not read_layout("photos", tree(*below(CLASSES, "Train", "Test"))).notes


@pytest.mark.parametrize("extra", ["test", "test1", "seg_pred/seg_pred", "unlabeled", "test/unknown", "samples"])
def test_pictures_without_labels_beside_splits_are_left_out_and_named(extra):
    found, left_out = read(*below(CLASSES, "train", "val"), extra)
    assert found == {"train": set(CLASSES), "validation": set(CLASSES)}
    assert left_out == [extra.split("/")[0]]


def test_a_test_folder_without_classes_is_left_out():
    assert read(*below(CLASSES, "train"), "test") == ({"train": set(CLASSES)}, ["test"])


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "un-labeled", "test", "holdout", "eval"])
def test_a_folder_of_unlabeled_pictures_beside_classes_is_left_out(name):
    assert read(*CLASSES, name) == ({"": set(CLASSES)}, [name])


def test_unlabeled_pictures_inside_a_split_are_left_out():
    found, left_out = read(*below((*CLASSES, "unlabeled"), "train", "test"))
    assert found == {"train": set(CLASSES), "test": set(CLASSES)}
    assert left_out == ["test/unlabeled", "train/unlabeled"]


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "car", "train"), ("bus", "train"), ("test tube", "train station"), ("valid", "invalid"),
        ("valid", "invalid", "unsure"), ("constraint", "testimony"), ("train station", "bus station"), ("good", "bad"),
    ],
)  # fmt: skip
def test_classes_with_names_like_splits_stay_possible(classes):
    assert read(*classes) == ({"": set(classes)}, [])


def test_a_class_called_train_is_said():
    assert "'train' is taken as a class" in " ".join(read_layout("x", tree("bus", "car", "train")).notes)


REFUSED = {
    "loose pictures in train and test1": (["train", "test1"], "look like splits.*no class folders.*'train'"),
    "loose pictures, nested twice": (["train/train", "test/test"], "look like splits"),
    "with a third folder": (["train", "test", "extra"], "look like splits"),
    "classes with names too like splits": (["train", "test tube", "tractor"], "If they are classes, rename one"),
    "competition": (["train_images", "test_images"], "look like splits"),
    "no training folder": (below(CLASSES, "val", "test"), "none is for training"),
    "classes that differ": ([*below(CLASSES, "train"), *below(("red", "blue", "green"), "test")], "are not those of"),
    "one level too high": (below(CLASSES, "my photos"), "Did you mean photos/my photos"),
    "two levels too high": (below(CLASSES, "a/b"), "Did you mean photos/a/b"),
    "splits one level too high": (below(CLASSES, "a/train", "a/test"), "Did you mean photos/a"),
    "copies": (below(CLASSES, "photos", "backup"), "all have the same folders"),
    "folds": (below(CLASSES, "fold1", "fold2", "fold3"), "all have the same folders"),
    "cameras": (below(CLASSES, "day", "night"), "all have the same folders"),
    "splits below classes": (below(("train", "test"), *CLASSES), "look like splits.*photos/train/cat"),
    "classes beside splits": ([*below(CLASSES, "train", "test"), "cat"], "'cat', which looks like a class"),
    "a copy beside splits": ([*below(CLASSES, "train", "test"), *below(CLASSES, "small")], "'small', which looks like"),
    "train with classes beside others": ([*below(CLASSES, "train"), "masks"], "beside it 'masks'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unclear_layouts_are_refused(name):
    folders, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        read(*folders)


def test_pictures_deep_below_classes_are_said():
    layout = read_layout("photos", tree("cat/red", "cat/grey", "dog/big", "dog/small"))
    assert {row.target for row in layout.rows} == {"cat", "dog"}
    assert "two levels deep (cat/grey)" in layout.notes[0]


def test_known_classes_are_found_whatever_stands_above_them():
    rows = read_known(
        ["cat/1.jpg", "test/dog/1.jpg", "a/test/elk/x/1.jpg", "test/owl/1.jpg", "ape/1.jpg", "1.jpg"], CLASSES
    )
    assert [row.target for row in rows] == ["cat", "dog", "elk", "owl", "ape"]


WORDS = ["cat", "dog", "oak", "Rosa canina", "class_1", "7", "tëst", "blue sky", "n01440764", "station", "tram"]
TRAIN = ["train", "Train", "training", "train_images", "TrainSet", "train2017", "set_train", "training set"]
OTHERS = ["val", "valid", "dev", "validation-images", "eval", "test", "Test1", "testing", "test_set", "holdout"]


def random_layout(draw):
    """A layout of which a person could tell what it is: its folders, and the classes by split."""
    classes = draw.sample(WORDS, draw.randint(2, 5))
    wrapped = draw.choice(["", "", "same", "images"])
    splits = {draw.choice(TRAIN): "train"}
    for name in draw.sample(OTHERS, draw.randint(1, 2)):
        splits[name] = split_of(name)
    wrapper = {"": lambda s: s, "same": lambda s: f"{s}/{s}", "images": lambda s: f"{s}/images"}[wrapped]
    folders = [f"{wrapper(s)}/{name}" for s in splits for name in classes]
    return folders, classes, splits


@pytest.mark.parametrize("seed", range(300))
def test_splits_never_become_classes(seed):
    """Whatever is added, dropped or misplaced: the classes are the classes, or the layout is refused."""
    draw = random.Random(seed)
    folders, classes, splits = random_layout(draw)
    found, left_out = read(*folders)
    assert all(names == set(classes) for names in found.values())
    assert "train" in found
    assert not left_out
    damages = [
        lambda: [f for f in folders if split_of(f.split("/")[0]) != "train"],
        lambda: sorted({f.split("/")[0] for f in folders}),
        lambda: folders + [draw.choice(["extra", "unlabeled", "sample_submission", "photos"])],
        lambda: ["data/" + f for f in folders],
        lambda: folders + ["data/" + f for f in folders],
        lambda: [f for f in folders if draw.random() < 0.8] or folders,
        lambda: folders + [draw.choice(classes)],
        lambda: folders + [f"more/{name}" for name in classes],
        lambda: [f"{name}/{s}" for s in splits for name in classes],
    ]
    for damage in damages:
        damaged = damage()
        try:
            found, _ = read(*damaged)
        except DataError:
            continue
        read_as = set().union(*found.values())
        assert len(read_as) < 2 or read_as <= set(classes), damaged  # one class alone is refused when it is indexed
