"""A run that says when it is not sure, from `evaluate --precision` to `predict`."""

import json

import numpy as np
import pytest
from PIL import Image
from small_world import SEED, tiny_model

from tfransfer import pipeline
from tfransfer.errors import SettingError
from tfransfer.runs.run import load_run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Something between blue and red; in the middle, what it is called was drawn."""
    root, random = tmp_path_factory.mktemp("colours") / "data", np.random.default_rng(1)
    blue, red = np.array((40, 60, 200)), np.array((210, 50, 40))
    for name in ("blue", "red"):
        (root / name).mkdir(parents=True)
    for number in range(800):
        share = random.uniform()
        noise = random.integers(-20, 21, (24, 24, 3))
        pixels = np.clip(share * red + (1 - share) * blue + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(
            root / ("red" if random.uniform() < 1 / (1 + np.exp(-12 * (share - 0.5))) else "blue") / f"{number:03}.png"
        )
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return pipeline.train(
        photos,
        tiny_model(),
        preprocessing="tf",
        out=out,
        head_epochs=6,
        fine_tune_epochs=3,
        unfreeze="all",
        exports=(),
        seed=SEED,
    )


@pytest.mark.learns
def test_the_run_is_good_for_this_test(run):
    assert 0.5 < run.metrics["validation"]["top1"] < 0.95
    assert run.manifest["temperature"] != 1


@pytest.mark.learns
def test_precision_is_bought_with_coverage_and_predict_says_what_is_not_sure(run, photos, command):
    wanted = run.metrics["validation"]["top1"] + 0.05
    code, out, err = command("evaluate", run.folder, "--precision", f"{wanted:.3f}")
    assert code == 0, err
    assert "not sure below" in out
    told = json.loads((run.folder / "metrics.json").read_text())
    for split in ("validation", "test"):
        assert 0 < told[split]["abstention"]["coverage"] < 1
    assert told["validation"]["abstention"]["top1"] >= wanted - 0.001
    opened = load_run(run.folder)
    assert opened.least_probability == told["test"]["abstention"]["threshold"]
    paths = sorted(photos.rglob("*.png"))[::10]
    said = opened.predict(paths)
    assert {one.sure for one in said} == {True, False}
    assert all(one.sure == (one.probability >= opened.least_probability) for one in said)
    code, out, _ = command("predict", run.folder, *paths[:20], "--json")
    shown = json.loads(out)["predictions"]
    assert [one["sure"] for one in shown] == [one.sure for one in said[:20]]
    unsure = next(path for path, one in zip(paths, said, strict=True) if not one.sure)
    code, out, _ = command("predict", run.folder, unsure, *paths[:20])
    assert "sure" in out.splitlines()[0]


def test_precision_is_chosen_on_the_runs_own_validation(run, photos):
    with pytest.raises(SettingError, match="own validation split"):
        pipeline.evaluate(run, np.zeros((2, 16, 16, 3), np.uint8), precision=0.9)
    with pytest.raises(SettingError, match="between 0 and 1"):
        pipeline.evaluate(run, precision=98)


def test_calibration_can_be_left_out(photos, tmp_path):
    made = pipeline.train(
        photos, tiny_model(), preprocessing="tf", out=tmp_path / "run", head_epochs=1, fine_tune_epochs=0,
        exports=(), calibrate=False,
    )  # fmt: skip
    assert made.manifest["temperature"] == 1
