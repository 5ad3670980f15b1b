"""A bundle: a zip with a model's files and all that somebody else needs to use it and to see that it works there.

bundle.json      what is inside: schema, task, and for each model file its format and hash
expected.json    what each file must say of each example
examples/        a few held-out pictures of the model's size (or texts in expected.json)
labels.txt, model_card.md, load_model.py, Classifier.kt
"""

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from tfransfer.errors import DataNotFoundError, ExportError
from tfransfer.exports import parity
from tfransfer.exports.formats import FORMATS, Format, find_format
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.system.files import file_hash, lines, whole
from tfransfer.tasks.task import find_task

SCHEMA = 1
EXAMPLES = 10
_BUNDLE, _EXPECTED, _CARD = "bundle.json", "expected.json", "model_card.md"
_LOADERS = ("load_model.py", "Classifier.kt")
# How far a probability may be off elsewhere: other chips round otherwise, and integers in steps of 1/256.
_TOLERANCE, _QUANTIZED_TOLERANCE = 2e-3, 0.05
# A bundle is somebody else's file: what it unpacks to is limited.
_LARGEST, _MOST_FILES = 4_000_000_000, 10_000


def write_bundle(
    place: Path, files: Sequence[tuple[str, Path]], given: np.ndarray, classes: Sequence[str], task: str, card: str
) -> None:
    """Write a bundle.

    Args:
        place: The zip; an existing one is replaced.
        files: Formats and the files or folders that were exported in them.
        given: Held-out pictures, uint8 (n, size, size, 3), or texts, (n,); the first ten go in.
        classes: Class names.
        task: Of the model.
        card: The model card.

    Raises:
        ExportError: A file cannot be loaded, or its labels are others.
    """
    given = given[:EXAMPLES]
    texts = given.dtype.kind in "UO"
    names = [] if texts else [f"examples/{number:02}.png" for number in range(1, len(given) + 1)]
    inside: dict[str, Any] = {"schema": SCHEMA, "task": task, "models": {}}
    expected: dict[str, Any] = {"texts": given.tolist()} if texts else {"examples": names}
    expected["outputs"] = {}
    with whole(place) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files:
            said = parity.replay_file(find_format(name), path, given)
            expected["outputs"][name] = said["first"].tolist()
            inside["models"][name] = {"file": path.name, "hashes": _add(archive, path)}
        for name, pixels in zip(names, given, strict=False):
            archive.writestr(name, _png(pixels))
        archive.writestr(_BUNDLE, json.dumps(inside, indent=2))
        archive.writestr(_EXPECTED, json.dumps(expected))
        archive.writestr(LABELS_FILE, lines(classes))
        archive.writestr(_CARD, card)
        for loader in _LOADERS if any(name.startswith("tflite") for name, _ in files) else ():
            archive.write(Path(__file__).with_name("bundle_files") / loader, loader)


def _add(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Put a file or folder into the zip; the hash of each file by its name there."""
    members = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    hashes = {}
    for member in members:
        name = str(PurePosixPath(path.name) / member.relative_to(path).as_posix()) if path.is_dir() else path.name
        archive.write(member, name)
        hashes[name] = file_hash(member)
    return hashes


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@dataclass(frozen=True)
class Verdict:
    """How a model file of a bundle does here.

    Attributes:
        format: Its format.
        file: Its name in the bundle.
        examples: How many were asked about.
        same: On how many it says what it said where the bundle was written.
        difference: Largest difference of an output.
        wrong: What is wrong with it; empty where nothing is.
    """

    format: str
    file: str
    examples: int
    same: int
    difference: float
    wrong: str = ""


def verify_bundle(path: Path) -> list[Verdict]:
    """Load each model of a bundle in a fresh process, and hold it to what the bundle says.

    A SavedModel is a program, and is run: verify bundles of people whom you trust.

    Raises:
        DataNotFoundError: There is no such file.
        ExportError: It is no bundle, a damaged one, or one of a newer version.
    """
    if not path.is_file():
        raise DataNotFoundError(f"the bundle {path} does not exist.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, Path(folder))
            return _verify(Path(folder))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, TypeError, AttributeError) as error:
            raise ExportError(f"{path} is no bundle, or a damaged one: {error}") from error


def _extract(archive: zipfile.ZipFile, folder: Path) -> None:
    """Unpack what stays inside the folder and is not too much."""
    members = archive.infolist()
    if len(members) > _MOST_FILES or sum(member.file_size for member in members) > _LARGEST:
        raise ValueError("it unpacks to more than a bundle holds")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
            raise ValueError(f"it names a file outside itself, {member.filename!r}")
    archive.extractall(folder)


def _verify(folder: Path) -> list[Verdict]:
    inside = json.loads((folder / _BUNDLE).read_text(encoding="utf-8"))
    expected = json.loads((folder / _EXPECTED).read_text(encoding="utf-8"))
    if inside["schema"] != SCHEMA:
        raise ExportError(f"the bundle has schema {inside['schema']}; this tfransfer reads {SCHEMA}. Update it.")
    classes = (folder / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    examples = _Examples(_given(folder, expected), classes, inside["task"])
    return [
        _judge(folder, name, model, examples, np.array(expected["outputs"][name], np.float32))
        for name, model in inside["models"].items()
    ]


def _given(folder: Path, expected: dict[str, Any]) -> np.ndarray:
    if "texts" in expected:
        return np.array([str(text) for text in expected["texts"]])
    pictures = []
    for name in expected["examples"]:
        if PurePosixPath(name).parts[0] != "examples" or ".." in PurePosixPath(name).parts:
            raise ValueError(f"it names an example outside itself, {name!r}")
        with Image.open(folder / name) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
    return np.stack(pictures)


@dataclass(frozen=True)
class _Examples:
    """What the models of a bundle are asked, and how their answers are compared."""

    given: np.ndarray
    classes: list[str]
    task: str


def _judge(folder: Path, name: str, model: dict[str, Any], examples: _Examples, expected: np.ndarray) -> Verdict:
    if name not in FORMATS:
        return Verdict(name, str(model["file"]), 0, 0, 0.0, "this tfransfer does not know its format")
    kind, file = find_format(name), PurePosixPath(model["file"]).name
    changed = [one for one, known in model["hashes"].items() if _hash_inside(folder, one) != known]
    if changed:
        return Verdict(name, file, 0, 0, 0.0, f"{changed[0]} is not the file that was bundled")
    try:
        said = parity.replay_file(kind, folder / file, examples.given)
    except ExportError as error:
        return Verdict(name, file, 0, 0, 0.0, str(error))
    return _compared(kind, file, said, expected, examples)


def _hash_inside(folder: Path, name: str) -> str:
    path = folder / name
    return file_hash(path) if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else ""


def _compared(
    kind: Format, file: str, said: dict[str, np.ndarray], expected: np.ndarray, examples: _Examples
) -> Verdict:
    answers = said["first"]
    if answers.shape != expected.shape:
        return Verdict(kind.name, file, len(expected), 0, 0.0, f"it gives {answers.shape}, not {expected.shape}")
    scale = max(1.0, float(np.abs(expected).max()))
    same = int(find_task(examples.task).same(answers, expected).sum())
    difference = float(np.abs(answers - expected).max())
    allowed = (_TOLERANCE if kind.exact else _QUANTIZED_TOLERANCE) * scale
    wrong = f"its outputs differ by up to {difference:.2g}; {allowed:g} is allowed" if difference > allowed else ""
    if "labels" in said and list(said["labels"]) != examples.classes:
        wrong = "its labels are not those of labels.txt"
    return Verdict(kind.name, file, len(expected), same, difference, wrong)
