"""Who is in train, validation and test."""

import csv
import os
import re
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from tfransfer.data import splits
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import SPLITS
from tfransfer.data.loading import load_data
from tfransfer.errors import DataError, DataNotFoundError

CLASSES = ("cat", "dog")


@pytest.fixture
def decide(tmp_path):
    def decided(examples, seed=0, classes=CLASSES, file=None):
        return splits.decide(tmp_path, classes, examples, seed, file)

    return decided


@pytest.fixture
def splits_file(tmp_path):
    """Writes a splits.csv: a heading and rows of texts."""

    def make(*rows, heading="path,label,split"):
        path = tmp_path / "given.csv"
        path.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
        return path

    return make


def sides(decided):
    return {e.path: e.split for e in decided.examples}


def in_split(examples, split, **fields):
    return [replace(e, split=split, **fields) for e in examples]


@pytest.mark.parametrize("counts", [(3000, 2000), (66, 60), (10, 35), (17, 101)])
def test_each_class_gets_its_share_of_each_split_to_within_one_example(decide, fakes, counts):
    for seed in range(20):
        decided = decide(fakes(0, counts[0]) + fakes(1, counts[1]), seed)
        for label, count in enumerate(counts):
            found = Counter(e.split for e in decided.examples if e.label == label)
            for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
                assert abs(found[split] - share * count) < 1 + 1e-6
    assert not decided.notes
    assert not decided.issues


def test_a_file_keeps_its_split_when_others_are_added(decide, fakes):
    before = sides(decide(fakes(0, 200) + fakes(1, 200)))
    after = sides(decide(fakes(0, 500) + fakes(1, 300) + fakes(2, 90), classes=("cat", "dog", "elk")))
    assert len(after) == 890
    moved = sum(after[path] != split for path, split in before.items())
    # A class of 200 that doubles is short or over by about six in test and in validation, and so are the new ones.
    assert moved < 0.1 * len(before)


def test_groups_get_their_share_as_far_as_they_can(decide, fakes):
    """Groups of three with two classes in each: no split may lack a class, and shares are met to about a group."""
    examples = [replace(e, group=f"g{n // 2}") for label in (0, 1) for n, e in enumerate(fakes(label, 120))]
    for seed in range(10):
        found = Counter((e.split, e.label) for e in decide(examples, seed).examples)
        assert all(abs(found[split, label] - 12) <= 3 for split in ("validation", "test") for label in (0, 1))


def test_a_file_keeps_its_split_when_it_is_renamed(decide, fakes):
    examples = fakes(0, 200) + fakes(1, 200)
    before = sides(decide(examples))
    after = sides(decide([replace(e, path="other/" + e.path) for e in examples]))
    assert after == {"other/" + path: split for path, split in before.items()}


def test_equal_files_never_stand_on_two_sides(decide, fakes):
    first = fakes(0, 300) + fakes(1, 300)
    copies = [replace(e, path="copy of " + e.path, label=1 - e.label) for e in first]
    found = sides(decide(first + copies))
    assert set(found.values()) == set(SPLITS)
    assert all(found[e.path] == found["copy of " + e.path] for e in first)


def test_another_seed_gives_other_splits_and_the_same_seed_the_same(decide, fakes):
    examples = fakes(0, 200) + fakes(1, 200)
    assert sides(decide(examples, seed=3)) == sides(decide(list(reversed(examples)), seed=3))
    differing = [p for p, s in sides(decide(examples, seed=3)).items() if s != sides(decide(examples, seed=4))[p]]
    assert len(differing) > 50


def test_a_group_stays_on_one_side(decide, fakes):
    examples = [replace(e, group=f"patient {i // 5}") for i, e in enumerate(fakes(0, 400))]
    examples += [replace(e, group=f"patient {i // 5}") for i, e in enumerate(fakes(1, 400))]
    decided = decide(examples)
    by_group = {}
    for example in decided.examples:
        by_group.setdefault(example.group, set()).add(example.split)
    assert all(len(found) == 1 for found in by_group.values())
    assert set.union(*by_group.values()) == set(SPLITS)


def test_groups_that_share_a_file_stay_together(decide, fakes):
    chains = []
    for chain in range(60):
        a, b, c = fakes(chain % 2, 3, prefix=f"{chain} ")
        twin = replace(b, path="twin of " + b.path, group=f"b{chain}")
        chains += [replace(a, group=f"a{chain}"), replace(b, group=f"a{chain}"), twin, replace(c, group=f"b{chain}")]
    found = sides(decide(chains))
    assert set(found.values()) == set(SPLITS)
    for start in range(0, len(chains), 4):
        assert len({found[e.path] for e in chains[start : start + 4]}) == 1


def without_test_picture(fakes, count=8):
    """Examples of one class none of which falls into test by itself, the nearest to its threshold first."""
    found = [e for e in fakes(0, 400) if splits.unit_of(0, e.content) >= 0.1]
    chosen = [e for e in found if splits.unit_of(0, e.content) < 0.2][:3]
    chosen += [e for e in found if splits.unit_of(0, e.content) >= 0.2][: count - 3]
    return sorted(chosen, key=lambda e: splits.unit_of(0, e.content))


def test_a_class_without_a_split_gets_the_picture_nearest_the_threshold(decide, fakes):
    few = without_test_picture(fakes)
    decided = decide(few + fakes(1, 300))
    found = sides(decided)
    assert [e.path for e in few if found[e.path] == "test"] == [few[0].path]
    assert {found[e.path] for e in few} == set(SPLITS)


def test_a_class_too_small_for_its_share_gets_one_in_each_split_and_it_is_said(decide, fakes):
    few = [e for e in fakes(0, 400) if splits.unit_of(0, e.content) >= 0.2][:4]
    decided = decide(few + fakes(1, 300))
    found = Counter(e.split for e in decided.examples if e.label == 0)
    assert found == {"train": 2, "validation": 1, "test": 1}
    assert len(decided.notes) == 2
    for split, note in zip(("validation", "test"), decided.notes, strict=True):
        assert f"class 'cat' had no picture in {split}: the 1 nearest the threshold moved there" in note


def test_moving_for_one_class_moves_nothing_of_another(decide, fakes):
    others = fakes(1, 300)
    alone = sides(decide(others + fakes(0, 300)))
    beside = sides(decide(others + without_test_picture(fakes)))
    assert all(alone[e.path] == beside[e.path] for e in others)


def test_three_pictures_are_enough_for_a_class(decide, fakes):
    for seed in range(20):
        found = sides(decide(fakes(0, 3) + fakes(1, 3), seed))
        assert Counter(found.values()) == {"train": 2, "validation": 2, "test": 2}


@pytest.mark.parametrize("count", [1, 2])
def test_class_with_fewer_pictures_than_splits_is_named_with_what_to_do(count, decide, fakes):
    with pytest.raises(DataError, match=rf"class 'dog' has {count} different picture.*at least 3.*add pictures"):
        decide(fakes(0, 100) + fakes(1, count))


def test_copies_do_not_make_a_class_large_enough(decide, fakes):
    (one,) = fakes(1, 1)
    copies = [replace(one, path=f"1/copy {i}.jpg") for i in range(9)]
    with pytest.raises(DataError, match="class 'dog' has 1 different picture"):
        decide(fakes(0, 100) + copies)


def test_class_with_fewer_groups_than_splits_is_refused(decide, fakes):
    grouped = [replace(e, group=f"burst {i % 2}") for i, e in enumerate(fakes(1, 50))]
    with pytest.raises(DataError, match="class 'dog' has 2 groups of pictures"):
        decide(fakes(0, 100) + grouped)


def test_class_that_cannot_be_split_without_tearing_equal_files_apart_is_refused(decide, fakes):
    pool = fakes(0, 400)
    low, middle, high = ([e for e in pool if a <= splits.unit_of(0, e.content) < b] for a, b in
                         ((0, 0.1), (0.1, 0.2), (0.2, 1)))  # fmt: skip
    # Elks lack validation, and each of their files in train is also the only one of another class there.
    elks = [replace(e, label=2) for e in (high[0], high[1], low[0])]
    cats = [high[0], middle[0], low[1]]
    dogs = [replace(e, label=1) for e in (high[1], middle[1], low[2])]
    with pytest.raises(DataError, match=r"class 'elk' cannot be in.*separating.*add pictures"):
        decide(elks + cats + dogs, classes=("cat", "dog", "elk"))


# Splits that the user made with folders.


@pytest.fixture
def arrange(tmp_path):
    """Makes pictures at given paths; a number after `=` chooses the content."""

    def make(*paths):
        root = tmp_path / "data"
        for number, text in enumerate(paths):
            path, _, content = text.partition("=")
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (int(content or number + 100), 0, 9)).save(root / path)
        return root

    return make


@pytest.mark.parametrize(
    ("variant", "meant"),
    {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
     "test": "test", "testing": "test", "Train": "train", "Val": "validation", "TEST": "test"}.items(),
)  # fmt: skip
def test_each_usual_name_of_a_split_folder_is_understood(variant, meant, arrange):
    names = {split: variant if split == meant else split for split in SPLITS}
    root = arrange(*(f"{names[split]}/{c}/{i}.png" for split in SPLITS for c in CLASSES for i in range(2)))
    dataset = load_data(root)
    assert dataset.classes == CLASSES
    assert not dataset.notes
    for split in SPLITS:
        assert [e.path for e in dataset.split(split)] == [
            f"{names[split]}/{c}/{i}.png" for c in CLASSES for i in (0, 1)
        ]


def test_folders_without_pictures_beside_split_folders_do_not_hide_them(arrange):
    root = arrange(*(f"{split}/{c}/{i}.png" for split in SPLITS for c in CLASSES for i in range(2)))
    (root / "annotations").mkdir()
    (root / "annotations" / "boxes.json").write_text("{}")
    dataset = load_data(root)
    assert dataset.classes == CLASSES


def test_a_class_may_be_called_like_a_split(arrange):
    root = arrange(*(f"{c}/{i}.png" for c in ("bus", "train", "tram") for i in range(4)))
    assert load_data(root).classes == ("bus", "train", "tram")


def test_content_on_two_sides_is_removed_from_train_named_and_counted(arrange):
    root = arrange(
        "train/cat/a.png", "train/cat/b.png=1", "train/cat/c.png=2", "train/dog/a.png", "train/dog/b.png=3",
        "val/cat/x.png=2", "val/dog/x.png", "val/dog/y.png=3", "test/cat/x.png=1", "test/dog/x.png",
    )  # fmt: skip
    dataset = load_data(root)
    assert [e.path for e in dataset.split("train")] == ["train/cat/a.png", "train/dog/a.png"]
    leaks = {i.path: i for i in dataset.issues}
    assert set(leaks) == {"train/cat/b.png", "train/cat/c.png", "train/dog/b.png"}
    assert all(i.kind == "leak" and i.set_aside for i in leaks.values())
    assert "is in test" in leaks["train/cat/b.png"].detail
    assert "is in validation" in leaks["train/cat/c.png"].detail
    assert sorted(dataset.notes) == [
        "removed 1 picture from train: the same content is in test",
        "removed 2 pictures from train: the same content is in validation",
    ]
    assert (root / "train/cat/b.png").is_file()


def test_content_in_validation_and_test_is_kept_in_test_only(decide, fakes):
    cats, dogs = fakes(0, 9), fakes(1, 9)
    given = [e for animal in (cats, dogs) for e in in_split(animal[:3], "train") + in_split(animal[3:6], "validation")]
    given += in_split(cats[6:] + dogs[6:], "test") + [replace(cats[6], path="leak.jpg", split="validation")]
    decided = decide(given)
    assert "leak.jpg" not in sides(decided)
    assert decided.notes == ("removed 1 picture from validation: the same content is in test",)


def test_a_group_on_two_sides_is_removed_from_train(decide, fakes):
    given = in_split(fakes(0, 9)[:3] + fakes(1, 3), "train", group="p1") + in_split(fakes(0, 20, "v"), "validation")
    given += in_split(fakes(0, 20, "t") + fakes(1, 20, "t"), "test") + in_split(
        fakes(0, 9, "z") + fakes(1, 9, "z"), "train"
    )
    given += in_split(fakes(0, 1, "w"), "validation", group="p1")
    decided = decide(given)
    assert not [e for e in decided.examples if e.split == "train" and e.group]
    assert len(decided.issues) == 6


@pytest.mark.parametrize("missing", [("validation",), ("test",), ("validation", "test")])
def test_splits_that_the_user_did_not_make_are_cut_from_train(missing, decide, fakes):
    made = [s for s in ("validation", "test") if s not in missing]
    train = in_split(fakes(0, 500) + fakes(1, 500), "train")
    own = [e for split in made for e in in_split(fakes(0, 7, split) + fakes(1, 7, split), split)]
    decided = decide(train + own)
    counts = Counter(e.split for e in decided.examples)
    assert all(counts[split] == 14 for split in made)
    assert all(60 < counts[split] < 140 for split in missing)
    assert counts["train"] == 1000 - sum(counts[s] for s in missing)
    assert any(all(s in note for s in missing) and "split off from train" in note for note in decided.notes)
    assert {e.label for e in decided.examples if e.split == missing[0]} == {0, 1}


def test_cut_from_train_follows_the_split_seed(decide, fakes):
    train = in_split(fakes(0, 200) + fakes(1, 200), "train")
    assert sides(decide(train, seed=1)) != sides(decide(train, seed=2))


def test_class_that_is_held_out_but_not_in_train_is_refused(decide, fakes):
    given = in_split(fakes(0, 9), "train") + in_split(fakes(0, 9, "v") + fakes(1, 9), "validation")
    given += in_split(fakes(0, 9, "t"), "test")
    with pytest.raises(DataError, match=r"no picture of 'dog' is in the train split.*Add pictures"):
        decide(given)


# splits.csv: recorded and followed.


@pytest.fixture
def data(solid_folder):
    return solid_folder("animals", {"cat": 20, "dog": 20})


def test_splits_are_recorded_and_followed_whatever_the_seed(data, tmp_path):
    dataset = load_data(data, split_seed=5)
    splits.write_splits(tmp_path / "splits.csv", dataset)
    with (tmp_path / "splits.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "label", "split"]
    assert [(r["path"], r["label"], r["split"]) for r in rows] == [
        (e.path, dataset.classes[e.label], e.split) for e in dataset.examples
    ]
    again = load_data(data, split_seed=6, splits_file=tmp_path / "splits.csv")
    assert again.examples == dataset.examples != load_data(data, split_seed=6).examples
    assert not again.issues
    assert not again.notes


def test_names_with_commas_quotes_and_line_breaks_survive_the_round_trip(tmp_path, fakes):
    names = ['a,"b".jpg', "ä 猫\n.jpg", "plain.jpg", " ;'\t.jpg"]
    examples = tuple(replace(e, path=n, split="test") for e, n in zip(fakes(0, 4), names, strict=True))
    splits.write_splits(tmp_path / "splits.csv", Dataset(tmp_path, ('ca"t, big',), examples))
    assert splits.read_splits(tmp_path / "splits.csv") == dict.fromkeys(names, ('ca"t, big', "test"))


def test_the_recorded_label_is_followed(data, tmp_path):
    dataset = load_data(data)
    moved = dataset.split("train")[0]
    relabelled = [replace(e, label=1 - e.label) if e is moved else e for e in dataset.examples]
    splits.write_splits(tmp_path / "splits.csv", replace(dataset, examples=tuple(relabelled)))
    followed = load_data(data, splits_file=tmp_path / "splits.csv")
    assert {e.path: e.label for e in followed.examples}[moved.path] == 1 - moved.label


def test_a_class_that_was_added_since_the_splits_were_recorded_is_named(data, tmp_path):
    splits.write_splits(tmp_path / "splits.csv", load_data(data))
    (data / "bird").mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 9, 9)).save(data / "bird" / f"{number}.png")
    with pytest.raises(DataError, match=r"has changed since.*splits\.csv.*'bird' is new.*overwrite=True"):
        load_data(data, splits_file=tmp_path / "splits.csv")


def test_unlisted_and_absent_files_are_named_and_counted(data, tmp_path):
    splits.write_splits(tmp_path / "splits.csv", load_data(data))
    train = [e.path for e in load_data(data).split("train")]
    (data / train[0]).unlink()
    (data / train[1]).write_bytes(b"")
    Image.new("RGB", (8, 8), "pink").save(data / "cat" / "new.png")
    said = []
    dataset = load_data(data, splits_file=tmp_path / "splits.csv", say=said.append)
    found = {(i.path, i.kind) for i in dataset.issues}
    unusable = "listed but not usable"
    assert found == {
        (train[0], unusable), (train[1], unusable), (train[1], "empty"), ("cat/new.png", "unlisted")
    }  # fmt: skip
    assert "2 pictures listed in" in " ".join(dataset.notes)
    assert len(dataset.examples) == 38
    assert any("cat/new.png" in line for line in said)


def test_splits_that_the_file_lacks_are_cut_from_its_train(data, splits_file):
    file = splits_file(*(f"{c}/{i:03}.png,{c},{'train' if i < 15 else 'test'}" for c in CLASSES for i in range(20)))
    dataset = load_data(data, splits_file=file)
    assert len(dataset.split("test")) == 10
    assert dataset.split("validation")
    assert any("no validation split" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("rows", "heading", "message"),
    [
        (["cat/000.png,cat"], "path,label", "expected the columns path, label, split; it has path, label"),
        ([], "file,class", "expected the columns path, label, split; it has file, class"),
        (["cat/000.png;cat;train"], "path;label;split", "expected the columns path, label, split"),
        (["cat/000.png,cat"], "path,label,split", "line 2.*has fewer"),
        (["cat/000.png,cat,dev"], "path,label,split", "line 2: 'dev' is not one of train, validation, test"),
        (
            ["cat/000.png,cat,train", "cat/001.png,cat,test", "cat/000.png,cat,test"],
            "path,label,split",
            "line 4: 'cat/000.png' is listed twice with different values",
        ),
        (["cat/000.png,lynx,train"], "path,label,split", "lists classes that the data does not have: 'lynx'"),
        (["cat/nowhere.png,cat,train"], "path,label,split", "none of the 1 paths"),
    ],
)
def test_splits_file_that_does_not_fit_is_refused_by_name(rows, heading, message, data, splits_file):
    file = splits_file(*rows, heading=heading)
    with pytest.raises(DataError, match=f"(?s)given.csv.*{message}|{message}.*given.csv"):
        load_data(data, splits_file=file)


def test_a_row_that_is_repeated_does_no_harm(data, tmp_path):
    splits.write_splits(tmp_path / "splits.csv", load_data(data))
    text = (tmp_path / "splits.csv").read_text()
    (tmp_path / "splits.csv").write_text(text + text.splitlines()[1] + "\n")
    assert load_data(data, splits_file=tmp_path / "splits.csv").examples == load_data(data).examples


def test_splits_file_that_is_no_csv_is_refused_by_name(data, tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    for path in (data / "cat" / "000.png", data / "cat", tmp_path / "empty.csv"):
        with pytest.raises(DataError, match=f"splits file {path}"):
            load_data(data, splits_file=path)


def test_splits_file_that_does_not_exist_is_named(data, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"absent\.csv does not exist"):
        load_data(data, splits_file=tmp_path / "absent.csv")


def test_texts_are_called_texts(decide, fakes):
    texts = [[replace(e, text=f"text {e.path}") for e in fakes(label, 40)] for label in (0, 1)]
    train, test = texts[0] + texts[1], in_split([texts[0][0]], "test")
    decided = decide([*in_split(train, "train"), *test])
    assert "removed 1 text from train: the same content is in test" in decided.notes
    for examples, message in (
        (texts[0] + texts[1][:1], r"class 'dog' has 1 different text; .*: add texts, .* a column of the table"),
        ([*in_split(texts[0], "train"), *in_split(texts[1], "test")], "no text of 'dog' is in the train split"),
    ):
        with pytest.raises(DataError, match=message) as refused:
            decide(examples)
        assert not re.search("picture|folder|photo|image", str(refused.value).replace("splits file", ""))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_splits_file_that_is_a_pipe_is_refused(tmp_path, data):
    os.mkfifo(tmp_path / "splits.csv")
    with pytest.raises(DataError, match="it is a named pipe"):
        load_data(data, splits_file=tmp_path / "splits.csv")
