"""`tfransfer cache`: what is kept between runs is shown, verified and cleared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfransfer.cli import main
from tfransfer.features import budget
from tfransfer.features.store import FACTS, Collection

pytestmark = pytest.mark.usefixtures("fresh_cache")

FACTS_OF_A_RUN = {"base": "mobilenet_v2", "image_size": 224, "kind": "pooled features", "engine": "litert"}


@pytest.fixture
def kept(fresh_cache):
    """The folders of two collections, and a file that is not ours."""
    folders = []
    for number, augment in enumerate([None, {"flip": True}]):
        collection = Collection(budget.store_home(), FACTS_OF_A_RUN | {"augment": augment})
        names = [f"{row}:{number}" for row in range(1200 + number)]
        collection.append(names, np.ones((len(names), 4), np.float32))
        os.utime(collection.folder / FACTS, (10**9 + 86_400 * number,) * 2)
        folders.append(collection.folder)
    (fresh_cache / "mine.txt").write_text("mine")
    return folders


def values_file(folder):
    (path,) = folder.glob("*.npy")
    return path


def test_show_of_an_empty_cache(command, fresh_cache):
    code, shown, elsewhere = command("cache")
    assert (code, elsewhere) == (0, "")
    assert f"{fresh_cache}: 0 bytes, of which features take 0 bytes; features may take up to " in shown
    assert not fresh_cache.exists()


def test_show_lists_collections_from_the_one_used_last(command, kept):
    code, shown, _ = command("cache", "show")
    assert code == 0
    heading, varied, clean, total = shown.splitlines()
    assert heading.split() == ["base", "pixels", "kind", "views", "engine", "outputs", "size", "last", "used"]
    assert varied.split()[:7] == ["mobilenet_v2", "224", "pooled", "features", "varied", "litert", "1,201"]
    assert clean.split()[:7] == ["mobilenet_v2", "224", "pooled", "features", "clean", "litert", "1,200"]
    assert varied.split()[-2].startswith("2001-09-")
    assert "features may take" in total


def test_show_calls_no_text_an_image(command, fresh_cache):
    collection = Collection(budget.store_home(), FACTS_OF_A_RUN | {"base": "bert", "image_size": 0})
    collection.append(["a text"], np.ones((1, 4), np.float32))
    code, shown, _ = command("cache", "show")
    assert code == 0
    assert shown.splitlines()[1].split()[:2] == ["bert", "texts"]
    assert "image" not in shown


def test_show_is_what_cache_does_by_itself(command, kept):
    assert command("cache") == command("cache", "show")


def test_show_with_json_is_one_object_and_the_table_goes_elsewhere(command, kept, fresh_cache):
    code, shown, elsewhere = command("cache", "show", "--json")
    said = json.loads(shown)
    assert code == 0
    assert said["folder"] == str(fresh_cache)
    assert [(c["base"], c["views"], c["images"]) for c in said["collections"]] == [
        ("mobilenet_v2", "varied", 1201),
        ("mobilenet_v2", "clean", 1200),
    ]
    assert [c["bytes"] for c in said["collections"]] == [budget.size_of(folder) for folder in reversed(kept)]
    assert "mobilenet_v2" in elsewhere


def test_show_of_a_collection_without_facts_does_not_fail(command, kept):
    (kept[0] / FACTS).write_bytes(b"")
    code, shown, _ = command("cache")
    assert code == 0
    assert shown.splitlines()[2].split()[:5] == ["?", "?", "?", "clean", "?"]


def test_verify_exits_with_0_where_all_is_right(command, kept):
    code, shown, elsewhere = command("cache", "verify")
    assert (code, elsewhere) == (0, "")
    assert shown == "2401 cached outputs, 0 damaged files: all sizes and checksums match\n"


def test_verify_exits_with_1_and_names_what_is_damaged(command, kept):
    damaged = values_file(kept[0])
    os.truncate(damaged, 200)
    code, shown, _ = command("cache", "verify")
    assert code == 1
    assert f"{damaged} has 200 bytes, 9728 were written" in shown
    assert "1 damaged file: computed again when needed" in shown


def test_verify_with_json_is_one_object_also_where_it_fails(command, kept):
    _, shown, elsewhere = command("cache", "verify", "--json")
    assert json.loads(shown) == {"images": 2401, "damaged": []}
    assert "all sizes and checksums match" in elsewhere
    lost = values_file(kept[1])
    lost.unlink()
    code, shown, elsewhere = command("cache", "verify", "--json")
    assert (code, json.loads(shown)) == (1, {"images": 2401, "damaged": [str(lost)]})
    assert f"{lost} is missing" in elsewhere


def test_clear_removes_what_is_kept_and_nothing_else(command, kept, fresh_cache):
    code, shown, _ = command("cache", "clear")
    assert code == 0
    assert shown.startswith(f"cleared {fresh_cache}: ")
    assert not shown.startswith(f"cleared {fresh_cache}: 0 bytes")
    assert [path.name for path in fresh_cache.iterdir()] == ["mine.txt"]


def test_clear_with_json_says_how_many_bytes_were_freed(command, kept, fresh_cache):
    before = budget.size_of(fresh_cache)
    _, shown, _ = command("cache", "clear", "--json")
    assert json.loads(shown) == {"folder": str(fresh_cache), "bytes": before - len("mine")}


def test_clear_of_an_empty_cache_is_no_failure(command):
    assert command("cache", "clear")[0] == 0


def test_unknown_action_is_wrong_usage(command):
    code, shown, elsewhere = command("cache", "clean")
    assert (code, shown) == (2, "")
    assert "clear" in elsewhere


def test_cache_needs_no_tensorflow(kept, fresh_cache):
    script = """
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "keras", "ai_edge_litert"), None))
from tfransfer.cli import main as cli
for action in ("show", "verify", "clear"):
    sys.argv = ["tfransfer", "cache", action]
    cli.main()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(main.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (fresh_cache / "features").exists()
