"""What the service says is what `predict` says, in TensorFlow Serving's shape and in the page's."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from serving_world import CLASSES, SIZE, picture, serving

from tfransfer import pipeline

# Batches of other sizes are summed in another order.
CLOSE = 1e-6


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


def predicted(run, content, tmp_path, suffix=".png"):
    """What `predict` says of the same file: its probabilities in the order of the classes."""
    file = tmp_path / f"asked{suffix}"
    file.write_bytes(content)
    said = dict(pipeline.predict(run, file, top=len(run.classes)).top)
    return [said[name] for name in run.classes]


def turned(orientation):
    """A JPEG whose EXIF says how it must be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(5, "JPEG", exif=exif)


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        (picture(1), ".png"),
        (picture(2, "JPEG", (300, 200)), ".jpg"),
        (picture(3, "WEBP"), ".webp"),
        (picture(4, "GIF"), ".gif"),
        (picture(4, "BMP"), ".bmp"),
        (picture(4, "TIFF"), ".tif"),
        (turned(6), ".jpg"),
    ],
    ids=["png", "large jpeg", "webp", "gif", "bmp", "tiff", "turned jpeg"],
)
def test_bytes_are_answered_as_predict_answers_the_file(client, run, tmp_path, content, suffix):
    right = predicted(run, content, tmp_path, suffix)
    status, said = client.predict({"instances": [b64(content)]})
    assert (status, list(said)) == (200, ["predictions"])
    np.testing.assert_allclose(said["predictions"], [right], atol=CLOSE)
    status, said = client.classify(content)
    assert status == 200
    assert said["top"] == [[name, pytest.approx(dict(zip(CLASSES, right, strict=True))[name], abs=CLOSE)]
                           for name in sorted(CLASSES, key=lambda name: -right[CLASSES.index(name)])]  # fmt: skip
    assert said["label"] == said["top"][0][0]


def test_exif_orientation_matters_here(client):
    upright, lying = (client.predict({"instances": [b64(turned(o))]})[1]["predictions"] for o in (1, 6))
    assert np.abs(np.subtract(upright, lying)).max() > 0.01


def test_column_named_inputs_and_versions_are_tensorflow_servings(client):
    files = [b64(picture(seed)) for seed in range(3)]
    _, rows = client.predict({"instances": files})
    rows = rows["predictions"]
    assert np.abs(np.diff(rows, axis=0)).max() > 0.01  # the pictures do not look the same to the model
    for request in (
        {"inputs": files},
        {"inputs": {"encoded": files}},
        {"signature_name": "serve_bytes", "inputs": files},
    ):
        status, said = client.predict(request)
        assert (status, list(said)) == (200, ["outputs"])
        np.testing.assert_allclose(said["outputs"], rows, atol=CLOSE)
    named = {"signature_name": "serve_bytes", "instances": [{"encoded": one} for one in files]}
    np.testing.assert_allclose(client.predict(named)[1]["predictions"], rows, atol=CLOSE)
    np.testing.assert_allclose(client.predict(named, "my_colours/versions/1")[1]["predictions"], rows, atol=CLOSE)


def test_pixels_are_answered_as_predict_answers_an_array(client, run):
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    right = [[dict(p.top)[name] for name in CLASSES] for p in pipeline.predict(run, pixels)]
    for request in (
        {"instances": pixels.tolist()},
        {"signature_name": "serving_default", "instances": [{"images": one} for one in pixels.tolist()]},
    ):
        status, said = client.predict(request)
        assert status == 200, said
        np.testing.assert_allclose(said["predictions"], right, atol=CLOSE)


def test_more_pictures_than_one_batch_come_back_in_order(client, run):
    files = [picture(seed) for seed in range(40)]
    status, said = client.predict({"instances": [b64(one) for one in files]})
    right = [[dict(p.top)[name] for name in CLASSES] for p in
             pipeline.predict(run, [Image.open(io.BytesIO(one)) for one in files])]  # fmt: skip
    assert status == 200
    np.testing.assert_allclose(said["predictions"], right, atol=CLOSE)


def test_status_and_metadata_are_tensorflow_servings(client):
    for path in ("/v1/models/my_colours", "/v1/models/my_colours/versions/1"):
        status, said = client.get(path)
        assert status == 200
        (version,) = said["model_version_status"]
        assert (version["state"], version["version"], version["status"]["error_code"]) == ("AVAILABLE", "1", "OK")
    status, said = client.get("/v1/models/my_colours/metadata")
    assert (status, said["model_spec"]["name"]) == (200, "my_colours")
    signatures = said["metadata"]["signature_def"]["signature_def"]
    sizes = [d["size"] for d in signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "16", "16", "3"]
    assert signatures["serve_bytes"]["inputs"]["encoded"]["dtype"] == "DT_STRING"
    assert signatures["serve_bytes"]["outputs"]["probabilities"]["dtype"] == "DT_FLOAT"


def test_about_and_health(client):
    assert client.get("/healthz") == (200, {"status": "ok"})
    status, said = client.get("/about")
    assert (status, said["classes"], said["limits"]["body_bytes"]) == (200, CLASSES, 20_000_000)
    assert said["predicts"] == "3 classes"


def test_page_asks_nobody_else_and_its_policy_allows_nothing_else(client):
    status, headers, page = client.ask("GET", "/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert "access-control-allow-origin" not in headers
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "") and "https://" not in page


def test_multi_label_says_what_applies_by_the_runs_thresholds(make_run, tmp_path):
    run = make_run("several", "multi-label", thresholds=[0.0, 1.1, 0.0])
    with serving(run) as client:
        status, said = client.classify(picture(1))
        predictions = client.predict({"instances": [b64(picture(1))]}, "several")[1]["predictions"]
    assert status == 200
    assert set(said["applies"]) == {"blue", "red"}
    assert len(said["top"]) == 3
    np.testing.assert_allclose(predictions, [predicted(run, picture(1), tmp_path)], atol=CLOSE)


def test_regression_says_a_number(make_run, tmp_path):
    run = make_run("weight", "regression", classes=["weight"])
    (tmp_path / "a.png").write_bytes(picture(1))
    right = pipeline.predict(run, tmp_path / "a.png").value
    with serving(run) as client:
        assert client.classify(picture(1)) == (200, {"value": pytest.approx(right, abs=1e-5)})
        assert client.predict({"instances": [b64(picture(1))]}, "weight") == (
            200, {"predictions": [[pytest.approx(right, abs=1e-5)]]}
        )  # fmt: skip


def test_texts(make_run):
    run = make_run("words", kind="text", classes=["bad", "good"])
    texts = ["a lovely film", "", "größer ☕"]
    right = [[dict(p.top)[name] for name in run.classes] for p in pipeline.predict(run, texts)]
    with serving(run, characters=30) as client:
        for instances in (texts, [{"text": one} for one in texts], [b64(one.encode()) for one in texts]):
            status, said = client.predict({"instances": instances}, "words")
            assert status == 200, said
            np.testing.assert_allclose(said["predictions"], right, atol=CLOSE)
        status, said = client.classify("größer ☕".encode(), "text")
        assert (status, said["label"]) == (200, pipeline.predict(run, "größer ☕").label)
        for bad, code in (("x" * 31, 413), (7, 400), (None, 400), ({"b64": "/w=="}, 400), ("\ud800", 400)):
            status, said = client.predict({"instances": ["fine", bad]}, "words")
            assert status == code, bad
            assert said["error"].startswith("instances[1]: ")
        assert client.classify(b"x" * 31, "text")[0] == 413
        assert client.classify(picture(1))[0] == 400
    with serving(run, all_characters=30) as client:
        assert client.predict({"instances": ["x" * 30]}, "words")[0] == 200
        status, said = client.predict({"instances": ["x" * 10, "x" * 21]}, "words")
        assert (status, "more than 30 characters" in said["error"]) == (413, True)
