"""Multi-label, regression and texts from the table to the exported files."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from small_world import SEED, some_flowers

import tfransfer
from tfransfer.errors import DataError, SettingError
from tfransfer.recipe import Recipe, write_recipe

pytestmark = pytest.mark.usefixtures("fresh_cache")
PER_CLASS = 60
# A training that takes seconds, and learns something.
QUICK = Recipe().with_settings({
    "image_size": 64, "features.views": 1, "features.engine": "keras", "head.epochs": 12, "head.learning_rate": 0.01,
    "fine_tune.epochs": 1, "fine_tune.unfreeze": 1, "seed": SEED,
})  # fmt: skip

# Reads an exported SavedModel where tfransfer cannot be imported.
STRANGER = """
import json, sys
sys.modules["tfransfer"] = None
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
given = np.load(sys.argv[2])
said = served.signatures["serving_default"](tf.constant(given))
print(json.dumps({name: values.numpy().tolist() for name, values in said.items()}))
"""


def served(run, given, place):
    np.save(place / "given.npy", given)
    words = [sys.executable, "-c", STRANGER, str(run.folder / "saved_model"), str(place / "given.npy")]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.strip().splitlines()[-1])


def colours_of(path):
    """What a photo shows, told from its pixels: which colours, how much yellow, how bright it is (0 to 255)."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((48, 48))
    hue, saturation, value = (np.asarray(small.convert("HSV"))[..., i].astype(int) for i in range(3))
    vivid = (saturation > 90) & (value > 70)
    shares = {
        "yellow": (vivid & (hue > 25) & (hue < 48)).mean(),
        "green": (vivid & (hue > 48) & (hue < 110)).mean(),
        "red": (vivid & ((hue < 12) | (hue > 225))).mean(),
        "white": ((saturation < 50) & (value > 170)).mean(),
    }
    return [name for name, share in shares.items() if share > 0.12], np.asarray(small.convert("L")).mean()


@pytest.fixture(scope="module")
def photos(flower_photos, tmp_path_factory):
    """A folder of real photos with two tables: colours.csv with classes, brightness.csv with numbers."""
    place = tmp_path_factory.mktemp("flowers")
    rows = some_flowers(flower_photos, place, PER_CLASS)
    described = [(path.relative_to(place), *colours_of(path)) for path in rows]
    for name, column in {"colours": 1, "brightness": 2}.items():
        with (place / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "label"])
            for row in described:
                value = row[column]
                writer.writerow([row[0], ";".join(value) if isinstance(value, list) else f"{value:.3f}"])
    return place


@pytest.mark.long
@pytest.mark.learns
def test_multi_label_on_real_photos(photos, command, tmp_path):
    write_recipe(tmp_path / "quick.toml", QUICK, "quick")
    words = ["train", photos / "colours.csv", "--task", "multi-label", "--base", "mini",
             "--recipe", tmp_path / "quick.toml", "--out", tmp_path / "run"]  # fmt: skip
    code, shown, errors = command(*words)
    assert code == 0, errors
    assert "mean average precision" in shown
    run = tfransfer.load_run(tmp_path / "run")
    test = run.metrics["test"]
    assert test["mean_average_precision"] >= test["mean_prevalence"] + 0.05
    assert (run.folder / "labels.txt").read_text().split() == list(run.classes)
    # The thresholds are those of the validation split, and predictions keep to them.
    assert [v["threshold"] for v in test["per_class"].values()] == run.thresholds != [0.5] * len(run.classes)
    picture = next(photos.rglob("*.jpg"))
    said = run.predict(picture)
    applies = {name for name, probability in said.top if probability >= run.thresholds[run.classes.index(name)]}
    assert set(filter(None, said.label.split(";"))) == applies
    assert run.evaluate() == run.metrics
    code, _, errors = command("evaluate", tmp_path / "run", "--predictions")
    assert code == 0, errors
    with (tmp_path / "run" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["split"] for row in rows} == {"validation", "test"}
    size = run.image_size
    pixels = np.asarray(Image.open(picture).convert("RGB").resize((size, size)))[np.newaxis]
    outside = served(run, pixels, tmp_path)["probabilities"][0]
    inside = run.model(pixels.astype(np.float32), training=False).numpy()[0]
    np.testing.assert_allclose(outside, inside, atol=1e-5)


@pytest.mark.long
@pytest.mark.learns
def test_regression_on_real_photos(photos, tmp_path):
    data = tfransfer.load_data(photos / "brightness.csv")
    run = tfransfer.train(data, base="mini", out=tmp_path / "run", recipe=QUICK)
    test = run.metrics["test"]
    assert test["r2"] > 0.1
    # Original units, in the model itself and in what is exported.
    spread = np.array([e.target[0] for e in data.split("test")])
    assert 0 < test["mae"] < spread.std()
    example = data.split("test")[0]
    said = run.predict(data.path_of(example))
    assert (said.label, said.top) == ("", ())
    assert abs(said.value - example.target[0]) < 6 * test["rmse"]
    pixels = np.zeros((1, run.image_size, run.image_size, 3), np.uint8)
    signature = tf.saved_model.load(str(run.folder / "saved_model")).signatures["serving_default"]
    outside = signature(tf.constant(pixels))["values"][0]
    np.testing.assert_allclose(outside, run.model(pixels.astype(np.float32), training=False).numpy()[0], rtol=1e-4)
    assert set(run.manifest["exports"]) == {"keras", "savedmodel", "tflite"}
    with pytest.raises(DataError, match="score it on a table"):
        run.evaluate(photos)


REVIEWS = [
    {"text": f"{opinion} {subject} {n}", "label": label}
    for label, opinions in {"good": ("lovely", "splendid", "charming"), "bad": ("dull", "dreadful", "boring")}.items()
    for opinion in opinions
    for subject in ("film", "story", "acting", "music")
    for n in range(12)
]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["text", "label"])
        writer.writeheader()
        writer.writerows(REVIEWS)
    return path


@pytest.mark.learns
def test_texts_from_the_table_to_a_saved_model_of_strings(reviews, command, tmp_path):
    code, shown, errors = command("train", reviews, "--fine-tune-epochs", 2, "--seed", SEED, "--out", tmp_path / "run")
    assert code == 0, errors
    assert "base: words, weights from built-in" in shown
    run = tfransfer.load_run(tmp_path / "run")
    assert run.metrics["test"]["top1"] >= 0.7
    assert set(run.manifest["exports"]) == {"keras", "savedmodel"}
    sentence = "A lovely, splendid film!"
    code, shown, _ = command("predict", tmp_path / "run", sentence, "what a dull story", "--json")
    assert code == 0
    assert [p["label"] for p in json.loads(shown)["predictions"]] == ["good", "bad"]
    outside = served(run, np.array([sentence]), tmp_path)["probabilities"][0]
    np.testing.assert_allclose(outside, [p for _, p in sorted(run.predict(sentence).top)], atol=1e-5)
    assert run.evaluate() == run.metrics
    with pytest.raises(SettingError, match="tflite does not support models that take texts"):
        run.export("tflite")


def test_a_base_for_pictures_is_refused_for_texts_and_the_other_way_round(reviews, photos, tmp_path):
    with pytest.raises(SettingError, match=r"takes images, the data holds texts: .* for example base=\'words\'"):
        tfransfer.train(reviews, base="mini", out=tmp_path / "run")
    with pytest.raises(SettingError, match=r"takes texts, the data holds images"):
        tfransfer.train(photos / "brightness.csv", base="ngrams", out=tmp_path / "run2")
    assert not (tmp_path / "run").exists()


def test_what_needs_one_class_per_example_is_refused_elsewhere(photos, tmp_path):
    for settings in ({"head": "linear-probe"}, {"class_weights": "balanced"}):
        with pytest.raises(SettingError, match="is for single-label tasks; these labels are regression"):
            tfransfer.train(photos / "brightness.csv", base="mini", out=tmp_path / "run", **settings)


@pytest.mark.long
def test_words_learn_the_opinions_of_real_reviews(test_data, tmp_path):
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + (test_data / "sst2" / f"{name}.tsv").read_text())
    run = tfransfer.train(tmp_path, out=tmp_path / "run")
    assert run.metrics["test"]["n"] == 1821
    assert run.metrics["test"]["top1"] >= 0.78
