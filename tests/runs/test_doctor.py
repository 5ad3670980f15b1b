"""The data doctor: planted faults are all found, untouched photos are left in peace, a cleaned split is clean."""

import csv
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import tfransfer as tr
from tfransfer.data.health.findings import HARD, KINDS
from tfransfer.data.index import labels_of
from tfransfer.display.progress import silent
from tfransfer.errors import DataError, SettingError, WriteError
from tfransfer.training.opening import open_session

CLASSES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Tables are written to the current folder."""
    monkeypatch.chdir(tmp_path)


def take_photos(archive: Path, root: Path, per_class: int) -> Path:
    """The same photos each time, spread over the archive; where two are of one photographer's series, both come."""
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
        for label in CLASSES:
            own = [name for name in names if f"/{label}/" in name]
            for name in own[:: len(own) // per_class][:per_class]:
                path = root / label / Path(name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(opened.read(name))
    return root


@pytest.fixture(scope="module")
def photos(flower_photos, tmp_path_factory) -> Path:
    """500 untouched photos."""
    return take_photos(flower_photos, tmp_path_factory.mktemp("flowers") / "photos", 100)


def smooth(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """A picture with large shapes, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Three classes of 24 clean drawn pictures, which nothing is wrong with."""
    root = tmp_path_factory.mktemp("drawn") / "data"
    for number, label in enumerate(("ash", "elm", "oak")):
        (root / label).mkdir(parents=True)
        for i in range(24):
            smooth(1000 * number + i).save(root / label / f"{i:02}.jpg", quality=92)
    return root


@pytest.fixture
def data(drawn, tmp_path) -> Path:
    """A copy of `drawn` that a test may spoil."""
    for path in drawn.glob("*/*"):
        (tmp_path / "data" / path.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path.parent.name / path.name).write_bytes(path.read_bytes())
    return tmp_path / "data"


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in 100 bytes: eleven gigabytes, if it was decoded before it was judged."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def with_broken_middle(encoded: bytes) -> bytes:
    """A file whose beginning and end are whole."""
    middle = len(encoded) // 2
    return encoded[: middle - 40] + bytes(80) + encoded[middle + 40 :]


# One fault each: what is planted, and the kind under which it must be found, with the path.


def plant_files(root: Path) -> dict[str, str]:
    """Faults that cost a file."""
    good = (root / "ash/00.jpg").read_bytes()
    (root / "ash/truncated.jpg").write_bytes(good[: len(good) // 2])
    smooth(9005).save(root / "ash/damaged.png")
    (root / "ash/damaged.png").write_bytes(with_broken_middle((root / "ash/damaged.png").read_bytes()))
    (root / "ash/empty.jpg").write_bytes(b"")
    (root / "ash/text.jpg").write_text("not a picture at all, but a page that says 404")
    (root / "ash/bomb.png").write_bytes(bomb())
    (root / "ash/gone.jpg").symlink_to("nowhere.jpg")
    smooth(9001).save(root / "ash/scan.jxl", format="TIFF")
    smooth(9002).save(root / "ash/really_a_tiff.jpg", format="TIFF")
    smooth(9003).save(root / "loose.jpg")
    smooth(9004).save(root / "ash/new.jpg")
    (root / "ash/new.jpg").rename(root / "ash" / os.fsdecode(b"caf\xe9.jpg"))
    (root / "yew").mkdir()
    return {
        "ash/truncated.jpg": "truncated", "ash/damaged.png": "damaged", "ash/empty.jpg": "empty",
        "ash/text.jpg": "no-picture", "ash/bomb.png": "too-large", "ash/gone.jpg": "unreadable",
        "ash/scan.jxl": "format", "ash/really_a_tiff.jpg": "wrong-extension", "loose.jpg": "no-class",
        "ash/caf\\udce9.jpg": "name", "yew": "empty-class",
    }  # fmt: skip


def plant_looks(root: Path) -> dict[str, str]:
    """Pictures that can be read, but are odd."""
    smooth(9011).save(root / "elm/a_png.jpg", format="PNG")
    smooth(9012).convert("CMYK").save(root / "elm/cmyk.jpg")
    glass = smooth(9013)
    glass.putalpha(Image.linear_gradient("L").resize(glass.size))
    glass.save(root / "elm/glass.png")
    Image.fromarray(np.random.default_rng(3).integers(0, 65536, (64, 64)).astype(np.uint16)).save(root / "elm/deep.png")
    turned = smooth(9014)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(root / "elm/turned.jpg", exif=exif)
    smooth(9015, (10, 9)).save(root / "elm/tiny.png")
    smooth(9016, (6000, 4100)).save(root / "elm/huge.jpg", quality=30)
    smooth(9017, (600, 60)).save(root / "elm/long.jpg")
    Image.new("RGB", (90, 90), (30, 31, 29)).save(root / "elm/cap_on.jpg")
    smooth(9018).save(root / "elm/moving.gif", save_all=True, append_images=[smooth(9019), smooth(9020)])
    return {
        "elm/a_png.jpg": "wrong-extension", "elm/cmyk.jpg": "colour-mode", "elm/glass.png": "colour-mode",
        "elm/deep.png": "colour-mode", "elm/turned.jpg": "turned", "elm/tiny.png": "tiny", "elm/huge.jpg": "huge",
        "elm/long.jpg": "elongated", "elm/cap_on.jpg": "near-uniform", "elm/moving.gif": "animated",
    }  # fmt: skip


def plant_copies(root: Path) -> dict[str, str]:
    """Pictures that are there twice."""
    (root / "oak/copy.jpg").write_bytes((root / "oak/00.jpg").read_bytes())
    (root / "oak/of_elm.jpg").write_bytes((root / "elm/01.jpg").read_bytes())
    smooth(2002).resize((60, 50)).save(root / "oak/smaller.jpg", quality=60)
    ImageEnhance.Brightness(smooth(1003)).enhance(0.8).save(root / "oak/darker_elm.jpg")
    return {
        "oak/copy.jpg": "duplicate", "oak/of_elm.jpg": "contradiction", "oak/smaller.jpg": "near-",
        "oak/darker_elm.jpg": "near-contradiction",
    }  # fmt: skip


def plant_rare(root: Path) -> dict[str, str]:
    """A class beside which another is ten times larger; it stands for the data as a whole, and has no path."""
    (root / "rare").mkdir()
    for i in range(3):
        smooth(5000 + i).save(root / f"rare/{i}.jpg")
    return {"": "small-class"}


def kinds_of(found) -> dict[str, set[str]]:
    by_path = {}
    for finding in found.findings:
        for path in finding.paths or ("",):
            by_path.setdefault(path, set()).add(finding.kind)
    return by_path


def contents(root):
    """Everything below a folder: names, bytes and times."""
    return {p: (p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in sorted(root.rglob("*"))}


def test_nothing_is_found_where_nothing_is_wrong(drawn):
    found = tr.check(drawn, suspects=False)
    assert found.findings == ()
    assert repr(found) == "Diagnosis(72 examples; nothing; labels were not judged: not requested)"


def test_every_planted_fault_is_found_and_nothing_is_touched(data):
    planted = plant_files(data) | plant_looks(data) | plant_copies(data) | plant_rare(data)
    before = contents(data)
    found = tr.check(data, suspects=False)
    came = kinds_of(found)
    missed = {path: kind for path, kind in planted.items() if not any(k.startswith(kind) for k in came.get(path, ()))}
    assert not missed, came
    assert len(set(planted.values())) >= 20
    clean = {f"{c}/{i:02}.jpg" for c in ("ash", "elm", "oak") for i in range(24)}
    assert clean & set(came) == {"oak/00.jpg", "elm/01.jpg", "oak/02.jpg", "elm/03.jpg"}, (
        "the originals of the copies only"
    )
    assert contents(data) == before


def test_imbalance_is_found(data):
    for path in sorted((data / "ash").glob("*"))[2:]:
        path.unlink()
    smooth(9000).save(data / "ash/third.jpg")
    for i in range(10):
        smooth(7000 + i).save(data / f"oak/more{i}.jpg")
    assert {f.kind for f in tr.check(data, suspects=False).findings} - {"reading"} == {"imbalance", "small-class"}


def test_every_kind_that_reading_can_set_aside_is_known():
    """An Issue's kind that KINDS lacks would end a check with a KeyError."""
    import ast

    written = set()
    for file in (Path(tr.__file__).parent / "data").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Issue" and len(node.args) > 1:
                written |= {c.value for c in ast.walk(node.args[1]) if isinstance(c, ast.Constant) and c.value}
    assert {"truncated", "leak", "no class"} <= written
    assert {kind.replace(" ", "-") for kind in written} <= set(KINDS)


# Duplicates.

CHANGES = {
    "recompressed": lambda p: p,
    "half as large": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.LANCZOS),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.25),
    "more contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.3),
    "without colour": lambda p: p.convert("L"),
    "cropped": lambda p: p.crop((2, 2, p.width - 2, p.height - 2)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_photo_is_found(change, photos, tmp_path):
    root, originals = tmp_path / "pairs", sorted(photos.glob("*/*.jpg"))[::25]
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
    for number, path in enumerate(originals):
        with Image.open(path) as picture:
            picture.convert("RGB").save(root / "a" / f"{number:03}.jpg", quality=95)
            CHANGES[change](picture.convert("RGB")).save(root / "b" / f"{number:03}.jpg", quality=60)
    found = {finding.paths for finding in tr.check(root, suspects=False).of("near-contradiction")}
    wanted = {(f"a/{number:03}.jpg", f"b/{number:03}.jpg") for number in range(len(originals))}
    assert found <= wanted, "different photos are not taken for one"
    assert len(found & wanted) >= 0.9 * len(wanted), sorted(wanted - found)


def split_by_hand(photos: Path, root: Path) -> Path:
    for path in photos.glob("*/*.jpg"):
        number = sorted(path.parent.iterdir()).index(path) % 5
        side = {0: "test", 1: "validation"}.get(number, "train")
        (root / side / path.parent.name).mkdir(parents=True, exist_ok=True)
        (root / side / path.parent.name / path.name).write_bytes(path.read_bytes())
    return root


def test_planted_leaks_across_splits_are_found_exact_and_near(drawn, tmp_path):
    root = split_by_hand(drawn, tmp_path / "split")
    test, validation = (sorted((root / side).glob("*/*.jpg")) for side in ("test", "validation"))
    exact, near = [], []
    for path in test[:4] + validation[:4]:
        copy = root / "train" / path.parent.name / f"exact_{path.name}"
        copy.write_bytes(path.read_bytes())
        exact.append(copy.relative_to(root).as_posix())
    for path in test[4:8] + validation[4:8]:
        copy = root / "train" / path.parent.name / f"near_{path.name}"
        with Image.open(path) as picture:
            picture.save(copy, quality=50)
        near.append((copy.relative_to(root).as_posix(), path.relative_to(root).as_posix()))
    found = tr.check(root, suspects=False)
    assert sorted(p for f in found.of("leak") for p in f.paths) == sorted(exact)
    assert sorted(tuple(sorted(f.paths)) for f in found.of("near-leak")) == sorted(tuple(sorted(p)) for p in near)


def test_a_group_of_copies_is_one_finding(data):
    for quality in (30, 50, 70):
        smooth(1).save(data / f"ash/again{quality}.jpg", quality=quality)
    found = tr.check(data, suspects=False)
    assert [len(f.paths) for f in found.findings] == [4]


# Untouched photos.


def test_500_untouched_photos_have_no_hard_finding_and_hardly_a_soft_one(photos):
    found = tr.check(photos, suspects=False)
    assert len(found.dataset.examples) == 500
    assert found.hard == ()
    assert len({path for f in found.soft for path in f.paths}) <= 5, found.soft


# Suspect labels.


def mislabel(photos: Path, root: Path, share: float, seed: int = 0) -> set[str]:
    """Copy photos, a share of them into the folder of another class; gives the paths of these."""
    random, wrong = np.random.default_rng(seed), set()
    paths = sorted(photos.glob("*/*.jpg"))
    labels = sorted({path.parent.name for path in paths})
    chosen = set(random.choice(len(paths), round(share * len(paths)), replace=False).tolist())
    for number, path in enumerate(paths):
        label = path.parent.name
        if number in chosen:
            label = labels[(labels.index(label) + random.integers(1, len(labels))) % len(labels)]
            wrong.add(f"{label}/{path.name}")
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / path.name).write_bytes(path.read_bytes())
    return wrong


def test_wrong_labels_rank_high(photos, tmp_path):
    """With `mini`, whose features tell two thirds of these photos, half of the wrong labels; five times chance."""
    wrong = mislabel(photos, tmp_path / "wrong", 0.05)
    found = tr.check(tmp_path / "wrong", base="mini")
    assert len(found.ranking) == 500
    top = set(found.ranking[:50])
    assert len(top & wrong) >= 0.4 * len(wrong)
    assert {s.path for s in found.suspects} <= top
    given = {e.path: found.dataset.classes[e.label] for e in found.dataset.examples}
    assert all(s.given == given[s.path] != s.likely for s in found.suspects)


@pytest.mark.long
def test_of_5_percent_wrong_labels_in_all_flower_photos_most_are_top_suspects(
    flower_photos, mobilenet_v2_weights, tmp_path
):
    with zipfile.ZipFile(flower_photos) as opened:
        opened.extractall(tmp_path / "zip")
    wrong = mislabel(next(tmp_path.glob("zip/**/daisy")).parent, tmp_path / "wrong", 0.05)
    found = tr.check(tmp_path / "wrong", weights=str(mobilenet_v2_weights))
    top = set(found.ranking[: len(found.ranking) // 10])
    assert len(top & wrong) >= 0.7 * len(wrong)


def test_a_copy_with_the_same_wrong_label_does_not_vouch_for_it():
    from tfransfer.methods.probing import fold_of_each

    labels = np.repeat([0, 1], 50)
    folds = fold_of_each(labels, [f"name {i // 2}" for i in range(100)], 0)
    np.testing.assert_array_equal(folds[::2], folds[1::2])
    assert all(5 <= count <= 15 for count in np.bincount(folds[:50]))


def test_what_a_check_extracts_serves_the_training_after_it(drawn, fresh_cache):
    data = tr.load_data(drawn)
    recipe = tr.Recipe(base="mini").with_settings({"features.views": 1, "fine_tune.epochs": 0})
    session = open_session(data, recipe, silent)
    session.decide_caching(silent)
    assert session.caching.plan.extract == len(data.split("train")) + len(data.split("validation"))
    tr.check(data, base="mini")
    session.decide_caching(silent)
    assert session.caching.plan.extract == 0


# Other sources and tasks.


def test_texts_are_checked(tmp_path):
    random = np.random.default_rng(0)
    good, bad = ["fine", "lovely", "great", "warm", "clever"], ["dull", "poor", "awful", "flat", "tired"]
    lines = []
    for i in range(120):
        words = random.choice(good if i % 2 else bad, 3)
        lines.append((f"a {' and '.join(words)} film number {i}", "good" if i % 2 else "bad"))
    wrong = lines[7] = (lines[7][0], "bad")
    lines += [(lines[1][0], "good"), (lines[2][0], "good"), (lines[3][0].upper() + "!", "good"), ("!!!", "good")]
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *lines])
    found = tr.check(tmp_path / "texts.csv")
    assert {"duplicate", "contradiction", "near-empty"} <= {f.kind for f in found.findings}
    assert found.of("near-duplicate") or found.of("near-leak")
    texts = {e.path: e.text for e in found.dataset.examples}
    assert wrong[0] in [texts[path] for path in found.ranking[:5]]


def test_regression_and_multi_label_say_why_labels_are_not_judged(drawn):
    paths = [p.relative_to(drawn.parent).as_posix() for p in sorted(drawn.glob("*/*"))]
    numbers = [("path", "label"), *((p, 0.5 + i) for i, p in enumerate(paths))]
    several = [("path", "label"), *((p, "x;y" if i % 2 else "y") for i, p in enumerate(paths))]
    for name, rows, task in (("numbers", numbers, "regression"), ("several", several, "multi-label")):
        with (drawn.parent / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        found = tr.check(drawn.parent / f"{name}.csv")
        assert task in found.not_judged
        assert found.suspects == ()


def test_arrays_and_digits_are_checked():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (72, 40, 40, 3), dtype=np.uint8)
    pixels[1] = pixels[0]
    found = tr.check((pixels, np.repeat(["a", "b", "c"], 24)), suspects=False)
    assert [f.kind for f in found.findings] == ["duplicate"]
    assert tr.check("digits", suspects=False).findings == ()


# The cleaned split.


def test_a_cleaned_split_is_clean_and_can_be_trained_on(data, command):
    planted = plant_files(data) | plant_copies(data)
    for i in range(4, 20):
        smooth(i).save(data / f"ash/near{i}.jpg", quality=40)
    before = contents(data)
    first = tr.check(data, suspects=False)
    assert {"near-leak", "contradiction"} <= {f.kind for f in first.hard}
    made = first.fix("clean.csv")
    assert contents(data) == before
    assert set(made.removed) == {"elm/01.jpg", "oak/of_elm.jpg", "elm/03.jpg", "oak/darker_elm.jpg"}
    again = tr.check(data, suspects=False, splits_file="clean.csv")
    assert again.hard == (), "what is left out on purpose is not wrong"
    assert set(planted) & {p for f in again.of("unlisted") for p in f.paths}
    dataset = tr.load_data(data, splits_file="clean.csv")
    sides = {e.path: e.split for e in dataset.examples}
    assert all(sides[f"ash/near{i}.jpg"] == sides[f"ash/{i:02}.jpg"] for i in range(4, 20))
    assert len(dataset.examples) == len(first.dataset.examples) - 4


def test_a_fix_replaces_no_other_file(data):
    found = tr.check(data, suspects=False)
    for name in ("notes.csv", "data/ash/00.jpg"):
        if name == "notes.csv":
            Path(name).write_text("mine\n")
        before = Path(name).read_bytes()
        with pytest.raises(WriteError, match="another file"):
            found.fix(name)
        with pytest.raises(WriteError, match="another file"):
            found.write_csv(name)
        assert Path(name).read_bytes() == before
    found.fix("splits.csv")
    found.fix("splits.csv")


@pytest.mark.parametrize("option", ["--fix", "--out"])
def test_a_file_that_stays_is_named_before_any_work(option, data, command, monkeypatch):
    monkeypatch.setattr("tfransfer.runs.doctor.check", lambda *a, **k: pytest.fail("the data was read"))
    Path("notes.csv").write_text("mine\n")
    code, _, said = command("check", data, option, "notes.csv")
    assert code == 1
    assert "notes.csv is another file" in said


def test_a_fix_does_not_replace_the_table_that_is_checked(drawn):
    rows = [(p.relative_to(drawn.parent), p.parent.name, "train") for p in sorted(drawn.glob("*/*"))]
    for number, (path, label, _) in enumerate(rows):
        rows[number] = (path, label, ("train", "train", "test", "validation")[number % 4])
    table = drawn.parent / "table.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("path", "label", "split"), *rows])
    with pytest.raises(WriteError, match="another file"):
        tr.check(table, suspects=False).fix(table)


def test_a_class_too_small_is_diagnosed_and_not_trained_on(data, command):
    for path in sorted((data / "ash").glob("*"))[2:]:
        path.unlink()
    found = tr.check(data, suspects=False)
    assert {"class-too-small", "not-trainable"} <= {f.kind for f in found.hard}
    with pytest.raises(DataError, match="no splits file can fix this: class 'ash' has 2"):
        found.fix("clean.csv")
    with pytest.raises(DataError, match="class 'ash' has 2 different pictures"):
        tr.train(found.dataset, out="run")
    assert not Path("clean.csv").exists()


def test_mostly_unreadable_data_is_diagnosed_file_by_file(data):
    for path in sorted(data.glob("*/*"))[::2] + sorted(data.glob("*/*"))[1::4]:
        path.write_bytes(path.read_bytes()[:600])
    found = tr.check(data, suspects=False)
    assert len(found.of("truncated")) + len(found.of("damaged")) == 54
    assert "more than half" in found.of("not-trainable")[0].detail


# The command.


def test_the_command_shows_writes_and_exits_by_what_it_found(data, command):
    code, shown, _ = command("check", data, "--no-suspects")
    assert code == 0
    assert "hard: nothing" in shown
    assert Path("data_issues.csv").read_text() == "path,kind,severity,group,detail,set_aside\n"
    plant_files(data)
    plant_copies(data)
    code, shown, elsewhere = command("check", data, "--no-suspects", "--fix", "clean.csv", "--out", "all.csv", "--json")
    assert code == 1
    said = json.loads(shown)
    assert said["hard"] == sum(f["severity"] == HARD for f in said["findings"]) > 5
    assert said["fixed"]["file"] == "clean.csv"
    assert "contradiction" in elsewhere
    with Path("all.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    pair = [row for row in rows if row["kind"] == "contradiction"]
    assert {row["path"] for row in pair} == {"elm/01.jpg", "oak/of_elm.jpg"}
    assert len({row["group"] for row in pair}) == 1
    assert command("check", data, "--no-suspects", "--splits", "clean.csv")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["absent"], 1, "absent does not exist"),
        (["data", "--base", "mobilnet_v2"], 2, "did you mean mobilenet_v2?"),
        (["data", "--splits", "absent.csv"], 1, "absent.csv does not exist"),
        (["data", "--base", "ngrams"], 2, "takes texts, the data holds images"),
    ],
)
def test_wrong_usage_is_told(arguments, code, words, data, command):
    came, _, said = command("check", *arguments)
    assert came == code
    assert words in said


def test_wrong_base_is_told_in_python(data):
    with pytest.raises(SettingError):
        tr.check(data, base="mobilnet_v2")


def test_train_says_what_the_index_tells(data):
    (data / "oak/of_elm.jpg").write_bytes((data / "elm/01.jpg").read_bytes())

    class Enough(Exception):
        """The rest of the training is not needed."""

    def say(line):
        if line.startswith("check: "):
            raise Enough(line)

    with pytest.raises(Enough, match=r"contradiction: elm/01\.jpg, oak/of_elm\.jpg: .*labelled 'elm' and 'oak'"):
        tr.train(data, "mini", out="run", say=say)


def test_labels_of_a_dataset_stay_in_order(data):
    dataset = tr.load_data(data)
    found = tr.check(dataset, suspects=False)
    assert found.dataset is dataset
    assert len(labels_of(dataset.examples)) == 72


def test_how_data_was_read_is_named_before_training(solid_folder, tmp_path):
    """Litter, unlabeled pictures, a stray table, and labels that can be read in two ways."""
    root = solid_folder("photos", {"cat": 12, "dog": 12})
    for place in (root / "cat" / "@eaDir", root / "unlabeled"):
        place.mkdir()
        Image.new("RGB", (9, 9), "pink").save(place / "1.jpg")
    (root / "train.csv").write_text("path,label\ncat/000.png,x\n")
    found = {f.kind: [g.detail for g in tr.check(root, suspects=False).findings if g.kind == f.kind]
             for f in tr.check(root, suspects=False).findings}  # fmt: skip
    assert any("1 pictures in 'unlabeled' have no labels" in detail for detail in found["unlabeled"])
    for words in ("ignored 1 pictures in folders '@eaDir'", "train.csv beside them is not used"):
        assert any(words in detail for detail in found["reading"])
    table = tmp_path / "severity.csv"
    table.write_text("text,label\n" + "".join(f"text {n},{('none', 'mild')[n % 2]}\n" for n in range(40)))
    found = tr.check(table, suspects=False).findings
    assert any("'none' in 'label' are taken as a class" in finding.detail for finding in found)
    (root / "cat").rename(root / "train")
    (root / "dog").rename(root / "test1")
    with pytest.raises(DataError, match="look like splits"):
        tr.check(root)
