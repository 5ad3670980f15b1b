"""What is read from disk may be anything: 2,000 spoilt inputs end in success or a TransferError, in bounded memory."""

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from manifests import manifest_of
from PIL import Image

from tfransfer.data.health import audit
from tfransfer.data.health.appearance import look
from tfransfer.data.health.remembered import RememberedFacts
from tfransfer.data.index import FileFacts, Issue
from tfransfer.data.inputs import read_inputs
from tfransfer.data.loading import load_data
from tfransfer.data.sources import unpacked
from tfransfer.data.sources.table import Columns, table_source
from tfransfer.data.splits import read_splits
from tfransfer.errors import DataError, RunError, TransferError
from tfransfer.features.memory import EngineMemory
from tfransfer.features.store import Collection
from tfransfer.recipe import read_recipe
from tfransfer.runs.manifest import Abstention
from tfransfer.runs.run import load_run

SEED = 20261121
# A decoder may hold one picture of MAX_PIXELS for a moment, but what it took is given back.
MOST_GROWTH = 400 << 20


def spoilt(random: np.random.Generator, own: bytes, other: bytes) -> bytes:
    """One of: cut short, some bits turned, a part of another file put in, a part left out or repeated."""
    data = bytearray(own)
    begin, end = sorted(random.integers(0, len(data) + 1, 2).tolist())
    how = random.integers(5)
    if how == 0:
        return bytes(data[:begin])
    if how == 1:
        for place in random.integers(0, len(data), 1 + random.integers(8)):
            data[place] ^= 1 << random.integers(8)
        return bytes(data)
    if how == 2:
        return bytes(data[:begin]) + other[random.integers(len(other)) :]
    if how == 3:
        return bytes(data[:begin] + data[end:])
    return bytes(data[:end] + data[begin:])


def many(count: int, files: list[bytes]):
    """Spoilt versions of files, the same ones each time."""
    random = np.random.default_rng(SEED)
    for number in range(count):
        own, other = files[number % len(files)], files[random.integers(len(files))]
        yield spoilt(random, own, other)


def picture_files() -> dict[str, bytes]:
    """A small picture in each format and colour mode that is read, and one format that is not."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    kinds = {
        "a.jpg": (picture, "JPEG", {"exif": exif}),
        "progressive.jpg": (picture, "JPEG", {"progressive": True}),
        "cmyk.jpg": (picture.convert("CMYK"), "JPEG", {}),
        "a.png": (picture, "PNG", {}),
        "palette.png": (picture.convert("P"), "PNG", {"transparency": 3}),
        "alpha.png": (picture.convert("RGBA"), "PNG", {}),
        "a.gif": (picture, "GIF", {"save_all": True, "append_images": [picture.convert("L")]}),
        "a.bmp": (picture, "BMP", {}),
        "a.webp": (picture, "WEBP", {}),
        "lossless.webp": (picture, "WEBP", {"lossless": True}),
        "a.tiff": (picture, "TIFF", {}),
    }
    made = {}
    for name, (one, kind, options) in kinds.items():
        stream = io.BytesIO()
        one.save(stream, kind, **options)
        made[name] = stream.getvalue()
    return made


def memory_of_this_process() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.filterwarnings("ignore")
def test_a_thousand_spoilt_pictures_are_read_or_named(tmp_path):
    path, readable = tmp_path / "picture", 0
    before = memory_of_this_process()
    for encoded in many(1000, list(picture_files().values())):
        path.write_bytes(encoded)
        fact = audit.examine(tmp_path, "picture")
        assert isinstance(fact, FileFacts | Issue)
        if isinstance(fact, FileFacts):
            readable += 1
            look(path, fact.orientation)
            (read,) = read_inputs(path, 16)
            assert read.pixels is not None
            assert read.pixels.shape == (16, 16, 3), "what the audit lets through must flow"
    assert 100 < readable < 900, "most of both: else this tests one way only"
    assert memory_of_this_process() - before < MOST_GROWTH


# Loaders of everything else: a good file, and what reads it.


def csv_table(folder: Path) -> tuple[Path, object]:
    (folder / "table.csv").write_text('text,label,split\n"good, very",1,train\nbad,0,test\nfine;so,1,dev\n')
    return folder / "table.csv", lambda: table_source(folder / "table.csv", Columns())


def picture_table(folder: Path) -> tuple[Path, object]:
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    (folder / "table.csv").write_text("path,label\na.png,x\na.png,y\nb.png,x;y\n")
    return folder / "table.csv", lambda: table_source(folder / "table.csv", Columns())


def splits_csv(folder: Path) -> tuple[Path, object]:
    (folder / "splits.csv").write_text("path,label,split\na/1.png,a,train\nb/1.png,b,test\nb/2.png,b,validation\n")
    return folder / "splits.csv", lambda: read_splits(folder / "splits.csv")


def metadata_csv(folder: Path) -> tuple[Path, object]:
    for label in "ab":
        (folder / "d" / label).mkdir(parents=True)
        for shade in range(3):
            Image.new("RGB", (8, 8), (shade, ord(label), 0)).save(folder / f"d/{label}/{shade}.png")
    names = "".join(f"{label}/{i}.png,p{label}{i}\n" for label in "ab" for i in range(3))
    (folder / "d/metadata.csv").write_text("file_name,patient\n" + names)
    return folder / "d/metadata.csv", lambda: load_data(folder / "d", group_column="patient")


def manifest(folder: Path) -> tuple[Path, object]:
    written = manifest_of(thresholds=(0.5, 0.25), abstention=Abstention(threshold=0.5)).to_dict()
    (folder / "manifest.json").write_text(json.dumps(written, indent=1))
    (folder / "metrics.json").write_text('{"test": {"top1": 0.5}}')
    (folder / "history.csv").write_text("phase,epoch\nhead,1\n")
    (folder / "model.keras").write_bytes(b"not looked at")
    return folder / "manifest.json", lambda: used_run(folder)


def metrics(folder: Path) -> tuple[Path, object]:
    manifest(folder)
    return folder / "metrics.json", lambda: used_run(folder)


def history(folder: Path) -> tuple[Path, object]:
    manifest(folder)
    return folder / "history.csv", lambda: used_run(folder)


def used_run(folder: Path) -> str:
    run = load_run(folder)
    assert isinstance(run.classes, tuple)
    return f"{run!r} {run.task} {run.kind} {run.image_size} {run.thresholds} {run.history}"


def recipe(folder: Path) -> tuple[Path, object]:
    (folder / "recipe.toml").write_text('base = "mini"\nseed = 3\n[head]\nepochs = 4\n[augment]\nflip = true\n')
    return folder / "recipe.toml", lambda: read_recipe(folder / "recipe.toml")


def kept_rows(folder: Path, suffix: str) -> tuple[Path, object]:
    Collection(folder / "store", {"base": "x"}).append(["a:0", "b:0"], np.ones((2, 5), np.float32))
    (shard,) = [p for p in (folder / "store").glob(f"*/*{suffix}") if p.name != "collection.json"]
    whole = {p: p.read_bytes() for p in shard.parent.glob("*")}

    def use():
        for path, content in whole.items():
            if path != shard and not path.exists():
                path.write_bytes(content)  # a damaged shard was removed with its header
        opened = Collection(folder / "store", {"base": "x"})
        there = [name for name in ("a:0", "b:0") if name not in opened.missing(["a:0", "b:0"])]
        if there:
            np.testing.assert_array_equal(opened.rows(there).take(np.arange(len(there))), 1)

    return shard, use


def shard_values(folder: Path) -> tuple[Path, object]:
    return kept_rows(folder, ".npy")


def shard_header(folder: Path) -> tuple[Path, object]:
    return kept_rows(folder, ".json")


def remembered(folder: Path) -> tuple[Path, object]:
    memory = RememberedFacts(folder, 1000)
    memory._fresh = {"a": [1, 2, 3, "facts", "ab", 1, "tensorflow", 8, 8]}
    memory.save()
    return memory.file, lambda: RememberedFacts(folder, 1000).recall("a", (1, 2, 3))


def engine_memory(folder: Path) -> tuple[Path, object]:
    memory = EngineMemory({"fuzz": 1})
    memory.update(rates={"keras": 1.0}, engine="keras")
    return memory._file, lambda: (EngineMemory({"fuzz": 1}).rates, EngineMemory({"fuzz": 1}).converted())


def unpacked_rows(folder: Path) -> tuple[Path, object]:
    (folder / "pictures/000").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "pictures/000/000000.png")
    rows = [["pictures/000/000000.png", "a", "train", None], ["1", "b", "", "a text"]]
    said = {"classes": ["a", "b"], "task": "single-label", "notes": [], "rows": rows}
    (folder / "rows.json").write_text(json.dumps(said))
    return folder / "rows.json", lambda: unpacked.reopen(folder)


LOADERS = [
    csv_table, picture_table, splits_csv, metadata_csv, manifest, metrics, history, recipe, shard_values, shard_header,
    remembered, engine_memory, unpacked_rows,
]  # fmt: skip


HOSTILE = [
    b"", b"\0" * 50, b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b'{"rows": 1e999}', b"\xff\xfe\x00x",
    b'{"schema": 1, "classes": 3, "plan": [], "data": null}', b"a" * 300_000, b'"' + b"x,\n" * 9999,
    b"path,label\n" + b"a" * 9999 + b",x\n", b"path,label,split\n\0,a,train\n",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.parametrize("loader", LOADERS, ids=lambda f: f.__name__)
def test_spoilt_files_are_loaded_or_refused(loader, tmp_path):
    file, use = loader(tmp_path)
    use()
    good, before = file.read_bytes(), memory_of_this_process()
    for content in [*many(80, [good]), *HOSTILE]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        try:
            use()
        except TransferError as error:
            assert str(error)
    assert memory_of_this_process() - before < MOST_GROWTH


ODD_MANIFESTS = {
    "classes are a number": {"classes": 3},
    "classes are a text": {"classes": "ab"},
    "a class is a number": {"classes": ["a", 7]},
    "no plan": {"plan": None},
    "plan is a list": {"plan": []},
    "size is a text": {"plan": {"base": "mini", "image_size": "big"}},
    "size is endless": {"plan": {"base": "mini", "image_size": 1e999}},
    "data is null": {"data": None},
    "kind is a number": {"data": {"kind": 7, "root": "/x"}},
    "task is unknown": {"task": "juggling"},
    "task is a list": {"task": []},
    "thresholds are texts": {"thresholds": ["a"]},
    "exports are a list": {"exports": []},
    "progress is a text": {"progress": "half"},
    "abstention has no threshold": {"abstention": {}},
    "seconds are a text": {"seconds": "many"},
}


@pytest.mark.parametrize("odd", ODD_MANIFESTS)
def test_a_manifest_of_odd_types_is_a_damaged_run(odd, tmp_path):
    file, use = manifest(tmp_path)
    said = json.loads(file.read_text())
    assert use()
    file.write_text(json.dumps(said | ODD_MANIFESTS[odd]))
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        use()


# What hostile data may try.


def test_a_splits_file_cannot_name_files_outside_the_folder(tmp_path, solid_folder):
    root = solid_folder("data", {"a": 4, "b": 4})
    outside = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "pink").save(outside)
    good = load_data(root)
    lines = [f"{e.path},{e.path[0]},{e.split}" for e in good.examples]
    bad = ["../secret.png,a,train", f"{outside},a,train", "a/../../secret.png,a,train", "/etc/passwd,b,train"]
    (tmp_path / "splits.csv").write_text("path,label,split\n" + "\n".join(lines + bad) + "\n")
    dataset = load_data(root, splits_file=tmp_path / "splits.csv")
    assert {e.path for e in dataset.examples} == {e.path for e in good.examples}
    assert sum(issue.kind == "listed but not usable" for issue in dataset.issues) == len(bad)


def test_a_table_that_names_what_is_no_picture_reads_nothing_of_it(tmp_path):
    secret = Path(os.path.relpath("/etc/passwd", tmp_path)).as_posix()
    for i in range(6):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(6))
    (tmp_path / "t.csv").write_text("path,label\n" + rows + f"{secret},a\n/dev/zero,b\n/dev/stdin,a\n")
    source = table_source(tmp_path / "t.csv", Columns())
    assert {issue.path for issue in source.issues} == {"/dev/zero", "/dev/stdin"}
    facts = audit.examine(tmp_path, secret)
    assert isinstance(facts, Issue)
    assert "root" not in facts.detail


@pytest.mark.parametrize("target", ["/dev/zero", "fifo"])
def test_a_link_to_what_never_ends_is_set_aside_at_once(target, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "endless.png").symlink_to(target)
    fact = audit.examine(tmp_path, "endless.png")
    assert isinstance(fact, Issue)
    assert fact.kind == "unreadable"
    assert "not a regular file" in fact.detail


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bomb_file(name: str) -> bytes:
    """A small file that says it is huge, or unpacks to what is."""
    png = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bmp = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 99, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    gif = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\x00\x00" + bytes(6)
    image = b"," + struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\x00\x02\x02\x4c\x01\x00;"
    rows = zlib.compress(bytes(20_000_000), 1)
    narrow = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    if name == "png":
        return start + chunk(b"IHDR", png) + chunk(b"IDAT", rows[:1000]) + end
    if name == "bmp":
        return bmp + bytes(45)
    if name == "gif":
        return gif + image
    if name == "more rows than the header says":
        return start + chunk(b"IHDR", narrow) + chunk(b"IDAT", rows) + end
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(300_000_000), 1))
    return start + chunk(b"IHDR", narrow) + text + chunk(b"IDAT", zlib.compress(bytes(272))) + end


BOMBS = ["png", "bmp", "gif", "more rows than the header says", "a text that unpacks"]


MEASURE = """
import resource, sys
from pathlib import Path
from tfransfer.data.health import audit
audit.examine(Path(sys.argv[1]).parent, "good.png")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
said = audit.examine(Path(sys.argv[1]).parent, Path(sys.argv[1]).name)
print(type(said).__name__, getattr(said, "kind", ""), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("bomb", BOMBS[:3])
def test_a_bomb_is_set_aside_by_its_header(bomb, tmp_path):
    (tmp_path / "bomb").write_bytes(bomb_file(bomb))
    fact = audit.examine(tmp_path, "bomb")
    assert isinstance(fact, Issue)
    assert fact.kind == "too large"


@pytest.mark.slow
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_takes_little_memory(bomb, tmp_path):
    (tmp_path / "bomb").write_bytes(bomb_file(bomb))
    Image.new("RGB", (20, 20)).save(tmp_path / "good.png")
    ran = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / "bomb"], capture_output=True, text=True, check=True)
    assert int(ran.stdout.split()[-1]) < 150_000, ran.stdout


def test_an_enormous_file_is_set_aside_unread(tmp_path):
    with (tmp_path / "long.png").open("wb") as stream:
        stream.write(next(iter(picture_files().values())))
        stream.truncate(audit.MAX_BYTES + 1)
    fact = audit.examine(tmp_path, "long.png")
    assert isinstance(fact, Issue)
    assert fact.kind == "too large"


@pytest.mark.usefixtures("fresh_cache")
def test_a_folder_of_spoilt_pictures_is_diagnosed_whole(tmp_path, solid_folder):
    """Through the public door, whatever the files hold."""
    import tfransfer as tr

    root = solid_folder("data", {"a": 120, "b": 120})
    names = list(picture_files())
    for number, encoded in enumerate(many(200, list(picture_files().values()))):
        (root / "ab"[number % 2] / f"spoilt{number:03}{Path(names[number % len(names)]).suffix}").write_bytes(encoded)
    try:
        found = tr.check(root, suspects=False)
    except DataError:
        pytest.fail("a check says what is wrong and goes on")
    assert found.hard
    shutil.rmtree(root)
