"""From bytes to pixels: what Pillow sees is what a model gets."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from small_world import read_picture, with_scans

from tfransfer.data import flow, pictures
from tfransfer.data.health import audit
from tfransfer.data.inputs import read_encoded, read_inputs
from tfransfer.data.sources.picture_files import READS_AVIF, READS_HEIF
from tfransfer.exports.formats import write_saved_model
from tfransfer.recipe import Augmentation

STILL = Augmentation(flip=False, rotate=0, zoom=0, shift=0, brightness=0, contrast=0)
ORIENTATION = 0x0112
# TensorFlow's JPEG decoder takes the fast integer transform, Pillow the accurate one.
JPEG_ROUNDING = 8

KINDS = {
    "jpeg": (lambda p: p, "JPEG", {"quality": 92}, JPEG_ROUNDING),
    "progressive jpeg": (lambda p: p, "JPEG", {"progressive": True}, JPEG_ROUNDING),
    "grey jpeg": (lambda p: p.convert("L"), "JPEG", {}, JPEG_ROUNDING),
    "cmyk jpeg": (lambda p: p.convert("CMYK"), "JPEG", {}, JPEG_ROUNDING),
    "png": (lambda p: p, "PNG", {}, 0),
    "palette png": (lambda p: p.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", {}, 0),
    "black-and-white png": (lambda p: p.convert("1"), "PNG", {}, 0),
    "alpha png": (lambda p: with_alpha(p), "PNG", {}, 0),
    "grey alpha png": (lambda p: p.convert("LA"), "PNG", {}, 0),
    "gif": (lambda p: p, "GIF", {}, 0),
    "bmp": (lambda p: p, "BMP", {}, 0),
    "palette bmp": (lambda p: p.convert("P"), "BMP", {}, 0),
    "grey bmp": (lambda p: p.convert("L"), "BMP", {}, 0),
    "webp": (lambda p: p, "WEBP", {}, 0),
    "alpha webp": (lambda p: with_alpha(p), "WEBP", {"lossless": True}, 0),
    "tiff": (lambda p: p, "TIFF", {}, 0),
    "packed tiff": (lambda p: p, "TIFF", {"compression": "tiff_lzw"}, 0),
    "jpeg tiff": (lambda p: p, "TIFF", {"compression": "jpeg"}, 0),
    "grey tiff": (lambda p: p.convert("L"), "TIFF", {}, 0),
    "black-and-white tiff": (lambda p: p.convert("1"), "TIFF", {"compression": "group4"}, 0),
    "cmyk tiff": (lambda p: p.convert("CMYK"), "TIFF", {}, 0),
    "palette tiff": (lambda p: p.convert("P"), "TIFF", {}, 0),
    "alpha tiff": (lambda p: with_alpha(p), "TIFF", {}, 0),
    **({"avif": (lambda p: p, "AVIF", {}, 0)} if READS_AVIF else {}),
    **({"heic": (lambda p: p, "HEIF", {}, 0)} if READS_HEIF else {}),
}


def with_alpha(picture):
    alpha = Image.fromarray(
        np.linspace(0, 255, picture.width * picture.height).reshape(picture.size[::-1]).astype("u1")
    )
    picture = picture.copy()
    picture.putalpha(alpha)
    return picture


def as_pillow(encoded):
    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture.convert("RGB"))


def decoded(encoded, size):
    """As the flow does: by the reader that the audit chose."""
    facts = audit.examine_bytes(encoded, "picture")
    assert isinstance(facts, audit.FileFacts), facts
    if facts.reader == "pillow":
        return pictures.through_pillow(encoded)
    return pictures.decode_full(tf.constant(encoded), size).numpy()


def assert_close(got, wanted, tolerance):
    assert got.shape == wanted.shape
    difference = np.abs(got.astype(int) - wanted.astype(int))
    assert difference.max() <= tolerance, difference.max()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_is_decoded_as_pillow_does(kind, photo, encode):
    convert, format, options, tolerance = KINDS[kind]
    encoded = encode(convert(Image.fromarray(photo)), format, **options)
    assert_close(decoded(encoded, 60), as_pillow(encoded), tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_picture_comes_the_same_way_through_flow_and_inputs(kind, photo, encode, dataset_of):
    convert, format, options, tolerance = KINDS[kind]
    encoded = encode(convert(Image.fromarray(photo)), format, **options)
    dataset = dataset_of({"picture": encoded})
    through_flow = read_picture(dataset, dataset.examples[0], 40)
    (through_inputs,) = read_inputs(dataset.root / "picture", 40)
    np.testing.assert_array_equal(through_flow, through_inputs.pixels)
    assert_close(through_flow, pictures.resize(as_pillow(encoded), 40).numpy(), tolerance)


def test_16_bit_grey_png_keeps_its_high_bytes(encode):
    grey = np.random.default_rng(1).integers(0, 65536, (20, 30)).astype(np.uint16)
    encoded = encode(grey, "PNG")
    wanted = np.stack([grey >> 8] * 3, axis=-1).astype(np.uint8)
    np.testing.assert_array_equal(decoded(encoded, 20), wanted)
    np.testing.assert_array_equal(pictures.through_pillow(encoded), wanted)


def test_16_bit_colour_png_is_decoded_as_pillow_does():
    colours = np.random.default_rng(1).integers(0, 65536, (20, 30, 3)).astype(np.uint16)
    encoded = tf.io.encode_png(colours).numpy()
    np.testing.assert_array_equal(decoded(encoded, 20), as_pillow(encoded))


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.uint16([[0, 256, 65535]]), [0, 1, 255]),
        (np.float32([[0, 0.5, 1]]), [0, 127, 255]),
        (np.float32([[0, 100, 255]]), [0, 100, 255]),
        (np.float32([[0, np.nan, 65535]]), [0, 0, 255]),
        (np.int32([[0, 257, 65535]]), [0, 1, 255]),
    ],
)
def test_tiffs_of_16_bits_and_floats_are_scaled_to_8_bits(values, wanted, encode):
    assert decoded(encode(values, "TIFF"), 1)[0, :, 1].tolist() == wanted


def test_a_tiff_that_lies_on_its_side_is_turned_once(photo, encode, dataset_of):
    picture = Image.fromarray(photo)
    exif = picture.getexif()
    exif[ORIENTATION] = 6
    (example,) = dataset_of({"a.tif": encode(picture, "TIFF", exif=exif)}).examples
    assert (example.width, example.height, example.orientation) == (60, 80, 1)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation_is_taken(format, encode):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    encoded = encode(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    with Image.open(io.BytesIO(encoded)) as animation:
        assert animation.n_frames == 3
    red = np.broadcast_to(np.uint8([255, 0, 0]), (16, 16, 3))
    assert_close(decoded(encoded, 16), red, 0 if format != "WEBP" else 4)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", *["AVIF"] * READS_AVIF, *["HEIF"] * READS_HEIF])
def test_exif_orientation_is_obeyed_as_pillow_does(format, photo, encode, dataset_of):
    files, wanted = {}, []
    for orientation in range(1, 9):
        picture = Image.fromarray(photo)
        exif = picture.getexif()
        exif[ORIENTATION] = orientation
        options = {"lossless": True} if format == "WEBP" else {}
        given = exif.tobytes() if format == "HEIF" else exif
        encoded = files[f"{orientation}.file"] = encode(picture, format, exif=given, **options)
        with Image.open(io.BytesIO(encoded)) as opened:
            upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        wanted.append(pictures.resize(upright, 40).numpy())
    dataset = dataset_of(files)
    targets, weights = np.eye(8, dtype=np.float32), np.ones(8, np.float32)
    evaluated = next(iter(flow.evaluation_flow(dataset, dataset.examples, targets, 40, 8).batches))
    trained = next(
        iter(
            flow.training_flow(dataset, dataset.examples, targets, weights, 40, 8, settings=STILL, seed=(0, 0)).batches
        )
    )
    tolerance = JPEG_ROUNDING if format == "JPEG" else 0
    for batch in (evaluated, trained):
        for pixels, target in zip(batch[0].numpy(), batch[1].numpy(), strict=True):
            assert_close(pixels, wanted[target.argmax()], tolerance)
    for path, want in zip(files, wanted, strict=True):
        (read,) = read_inputs(dataset.root / path, 40)
        assert_close(read.pixels, want, tolerance)


def test_pil_image_with_orientation_is_read_upright(photo, encode):
    picture = Image.fromarray(photo)
    exif = picture.getexif()
    exif[ORIENTATION] = 6
    with Image.open(io.BytesIO(encode(picture, "PNG", exif=exif))) as opened:
        (read,) = read_inputs(opened, 40)
    np.testing.assert_array_equal(read.pixels, pictures.resize(np.rot90(photo, -1), 40).numpy())


def test_senseless_orientation_is_no_reason_to_lose_a_picture(photo, encode):
    picture = Image.fromarray(photo)
    exif = picture.getexif()
    exif[ORIENTATION] = 9
    assert audit.examine_bytes(encode(picture, "JPEG", exif=exif), "a.jpg").orientation == 1


@pytest.mark.parametrize(("size", "ratio"), [(8, 8), (60, 8), (61, 4), (120, 4), (121, 2), (240, 2), (241, 1)])
def test_large_jpeg_is_downscaled_by_its_own_decoder_to_no_less_than_needed(size, ratio, photo, encode):
    large = encode(Image.fromarray(photo).resize((640, 480), Image.Resampling.BICUBIC), "JPEG", quality=95)
    assert pictures.decode_full(tf.constant(large), size).shape == (480 // ratio, 640 // ratio, 3)


@pytest.mark.parametrize("size", [48, 100, 200])
def test_downscaled_jpeg_stays_close_to_full_decoding(size, photo, encode):
    large = encode(Image.fromarray(photo).resize((640, 480), Image.Resampling.BICUBIC), "JPEG", quality=95)
    quick = pictures.decode(tf.constant(large), size).numpy().astype(int)
    full = pictures.resize(as_pillow(large), size).numpy().astype(int)
    assert np.abs(quick - full).mean() < 2
    assert np.abs(quick - full).max() < 16


def test_decode_gives_uint8_of_the_asked_size(photo, encode):
    pixels = pictures.decode(tf.constant(encode(photo, "PNG")), 33)
    assert pixels.dtype == tf.uint8
    assert pixels.shape == (33, 33, 3)
    np.testing.assert_array_equal(pixels, pictures.resize(photo, 33))


def test_resize_stretches_with_antialiasing():
    stripes = np.zeros((63, 63, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = pictures.resize(stripes, 7).numpy().astype(int)
    assert np.abs(shrunk[:, 1:-1] - 127.5).max() < 10, "stripes finer than a pixel must come out grey"


def test_pixels_are_rounded_and_kept_in_range():
    rounded = pictures.to_uint8(tf.constant([-3.0, 0.4, 0.6, 99.51, 254.4, 254.6, 300.0]))
    assert rounded.numpy().tolist() == [0, 0, 1, 100, 254, 255, 255]


def test_saved_model_decodes_bytes_as_training_does(photo, encode, tmp_path):
    given = keras.Input((24, 24, 3))
    pixels_out = keras.Model(given, keras.layers.Flatten()(given))
    write_saved_model(pixels_out, ["a", "b"], tmp_path / "saved")
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve_bytes"]
    large = Image.fromarray(photo).resize((400, 300), Image.Resampling.BICUBIC)
    for encoded in (encode(large, "JPEG"), encode(photo, "JPEG"), encode(photo, "PNG"), encode(photo, "BMP")):
        (served,) = serve(encoded=tf.constant([encoded])).values()
        wanted = pictures.decode(tf.constant(encoded), 24).numpy()
        np.testing.assert_array_equal(served.numpy().reshape(24, 24, 3), wanted)


def test_scans_are_counted_where_the_decoder_would_go(encode, photo):
    plain, progressive = encode(photo, "JPEG"), encode(photo, "JPEG", progressive=True)
    assert (pictures.scans_of(plain, 99), pictures.scans_of(progressive, 99)) == (1, 10)
    # A thumbnail in the header, a film behind the picture, restart markers: none of them is a scan of it.
    comment = b"\xff\xfe\x00\x08" + b"\xff\xda" * 3
    assert pictures.scans_of(plain[:2] + comment + plain[2:] + b"\xff\xda\x00\x02" * 100, 99) == 1
    assert pictures.scans_of(encode(photo, "JPEG", restart_marker_rows=1), 99) == 1
    assert pictures.scans_of(with_scans(40), 99) == 50
    assert pictures.scans_of(with_scans(60), 51) == 51


def test_jpeg_with_too_many_scans_is_set_aside():
    assert isinstance(audit.examine_bytes(with_scans(40), "a.jpg"), audit.FileFacts)
    issue = audit.examine_bytes(with_scans(41), "a.jpg")
    assert isinstance(issue, audit.Issue)
    assert issue.kind == "too large" and "50 scans" in issue.detail


@pytest.mark.parametrize("where", ["before", "behind"])
def test_orientation_of_a_png_is_found_on_both_sides_of_its_pixels(encode, photo, where):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(photo, "PNG", exif=exif)
    if where == "behind":
        begin = turned.index(b"eXIf") - 4
        chunk = turned[begin : begin + 12 + int.from_bytes(turned[begin : begin + 4], "big")]
        turned = turned.replace(chunk, b"")[:-12] + chunk + turned[-12:]
    assert audit.examine_bytes(turned, "a.png").orientation == 6
    (read,) = (read_encoded(turned, "a.png", 40),)
    upright = pictures.turn_upright(tf.constant(photo), tf.constant(6))
    np.testing.assert_array_equal(read.pixels, pictures.resize(upright, 40).numpy())


def test_large_pictures_go_through_pillow_one_at_a_time(encode, monkeypatch):
    """A WebP takes 16 bytes a pixel: several at once, on as many cores, would fill the memory."""
    monkeypatch.setattr(pictures, "_LARGE", 100)
    inside, most, real = [], [], pictures.as_rgb

    def slow(picture):
        inside.append(picture)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(picture)
        return real(picture)

    monkeypatch.setattr(pictures, "as_rgb", slow)
    encoded = encode(np.zeros((10, 20, 3), np.uint8), "WEBP")
    with ThreadPoolExecutor(4) as pool:
        assert [pixels.shape for pixels in pool.map(pictures.through_pillow, [encoded] * 4)] == [(10, 20, 3)] * 4
    assert max(most) == 1
