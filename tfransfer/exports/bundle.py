"""A bundle: a zip with a model's files and all that somebody else needs to use it and to check that it works.

bundle.json      the content: schema, task, and for each model file its format and hashes
expected.json    the expected outputs of each file for each example
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
# How far a probability may be off on other machines: chips round differently, and integers have steps of 1/256.
_TOLERANCE, _QUANTIZED_TOLERANCE = 2e-3, 0.05
# A bundle may come from anyone, so its unpacked size is limited.
_LARGEST, _MOST_FILES = 4_000_000_000, 10_000


def write_bundle(
    place: Path, files: Sequence[tuple[str, Path]], given: np.ndarray, classes: Sequence[str], task: str, card: str
) -> None:
    """Write a bundle.

    Args:
        place: The zip; an existing one is replaced.
        files: Formats, and the files or folders exported in them.
        given: Held-out pictures, uint8 (n, size, size, 3), or texts, (n,); the first ten are included.
        classes: Class names.
        task: The model's task.
        card: The model card.

    Raises:
        ExportError: A file cannot be loaded, or its labels differ.
    """
    given = given[:EXAMPLES]
    texts = given.dtype.kind in "UO"
    names = [] if texts else [f"examples/{number:02}.png" for number in range(1, len(given) + 1)]
    content: dict[str, Any] = {"schema": SCHEMA, "task": task, "models": {}}
    expected: dict[str, Any] = {"texts": given.tolist()} if texts else {"examples": names}
    expected["outputs"] = {}
    with whole(place) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files:
            answers = parity.replay_file(find_format(name), path, given)
            expected["outputs"][name] = answers["first"].tolist()
            content["models"][name] = {"file": path.name, "hashes": _add(archive, path)}
        for name, pixels in zip(names, given, strict=False):
            archive.writestr(name, _png(pixels))
        archive.writestr(_BUNDLE, json.dumps(content, indent=2))
        archive.writestr(_EXPECTED, json.dumps(expected))
        archive.writestr(LABELS_FILE, lines(classes))
        archive.writestr(_CARD, card)
        for loader in _LOADERS if any(name.startswith("tflite") for name, _ in files) else ():
            archive.write(Path(__file__).with_name("bundle_files") / loader, loader)


def _add(archive: zipfile.ZipFile, path: Path) -> dict[str, str]:
    """Add a file or folder to the zip; returns the hash of each file by its name there."""
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
    """The result of checking a bundle's model file on this machine.

    Attributes:
        format: Its format.
        file: Its name in the bundle.
        examples: Number of examples compared.
        same: Number of examples with the same prediction as where the bundle was written.
        difference: Largest difference of an output.
        wrong: What is wrong with it; empty if nothing is.
    """

    format: str
    file: str
    examples: int
    same: int
    difference: float
    wrong: str = ""


def verify_bundle(path: Path) -> list[Verdict]:
    """Load each model of a bundle in a fresh process and compare its outputs with the expected ones.

    A SavedModel is a program, and it is run: verify only bundles that you trust.

    Raises:
        DataNotFoundError: There is no such file.
        ExportError: It is not a bundle, damaged, or from a newer version.
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
    """Unpack, refusing paths outside the folder and too much data."""
    members = archive.infolist()
    if len(members) > _MOST_FILES or sum(member.file_size for member in members) > _LARGEST:
        raise ValueError("it unpacks to more than a bundle may contain")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
            raise ValueError(f"it names a file outside itself, {member.filename!r}")
    archive.extractall(folder)


def _verify(folder: Path) -> list[Verdict]:
    content = json.loads((folder / _BUNDLE).read_text(encoding="utf-8"))
    expected = json.loads((folder / _EXPECTED).read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ExportError(f"the bundle has schema {content['schema']}; this version reads {SCHEMA}. Update tfransfer.")
    classes = (folder / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    examples = _Examples(_read_examples(folder, expected), classes, content["task"])
    return [
        _judge(folder, name, model, examples, np.array(expected["outputs"][name], np.float32))
        for name, model in content["models"].items()
    ]


def _read_examples(folder: Path, expected: dict[str, Any]) -> np.ndarray:
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
    """The examples of a bundle, and what is needed to compare outputs for them."""

    given: np.ndarray
    classes: list[str]
    task: str


def _judge(folder: Path, name: str, model: dict[str, Any], examples: _Examples, expected: np.ndarray) -> Verdict:
    if name not in FORMATS:
        return Verdict(name, str(model["file"]), 0, 0, 0.0, "this version of tfransfer does not support its format")
    kind, file = find_format(name), PurePosixPath(model["file"]).name
    changed = [member for member, known in model["hashes"].items() if _hash_inside(folder, member) != known]
    if changed:
        return Verdict(name, file, 0, 0, 0.0, f"{changed[0]} is not the file that was bundled")
    try:
        answers = parity.replay_file(kind, folder / file, examples.given)
    except ExportError as error:
        return Verdict(name, file, 0, 0, 0.0, str(error))
    return _compare(kind, file, answers, expected, examples)


def _hash_inside(folder: Path, name: str) -> str:
    path = folder / name
    return file_hash(path) if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else ""


def _compare(
    kind: Format, file: str, answers: dict[str, np.ndarray], expected: np.ndarray, examples: _Examples
) -> Verdict:
    outputs = answers["first"]
    if outputs.shape != expected.shape:
        reason = f"its outputs have shape {outputs.shape}, not {expected.shape}"
        return Verdict(kind.name, file, len(expected), 0, 0.0, reason)
    scale = max(1.0, float(np.abs(expected).max()))
    same = int(find_task(examples.task).same(outputs, expected).sum())
    difference = float(np.abs(outputs - expected).max())
    allowed = (_TOLERANCE if kind.exact else _QUANTIZED_TOLERANCE) * scale
    wrong = f"its outputs differ by up to {difference:.2g}; {allowed:g} is allowed" if difference > allowed else ""
    if "labels" in answers and list(answers["labels"]) != examples.classes:
        wrong = "its labels are not those of labels.txt"
    return Verdict(kind.name, file, len(expected), same, difference, wrong)
