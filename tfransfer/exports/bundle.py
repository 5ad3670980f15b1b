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

from tfransfer.base import untrusted
from tfransfer.errors import DataNotFoundError, ExportError, TransferError
from tfransfer.exports import parity
from tfransfer.exports.formats import FORMATS, Format, find_format
from tfransfer.exports.metadata import LABELS_FILE
from tfransfer.system import trust as trusted
from tfransfer.system.files import file_hash, lines, names_in_lines, read_json, whole
from tfransfer.system.interface import option
from tfransfer.tasks.task import Task, find_task

SCHEMA = 1
EXAMPLES = 10
_BUNDLE, _EXPECTED, _CARD = "bundle.json", "expected.json", "model_card.md"
_LOADERS = ("load_model.py", "Classifier.kt")
# How far a probability may be off on other machines: chips round differently, and integers have steps of 1/256.
_TOLERANCE, _QUANTIZED_TOLERANCE = 2e-3, 0.05
# A bundle may come from anyone, so its unpacked size is limited.
_LARGEST, _MOST_FILES, _LARGEST_JSON, _MOST_PIXELS = 4_000_000_000, 10_000, 64_000_000, 4096**2
# Readers of formats that are programs: they are run only if the user trusts the bundle.
_PROGRAMS = ("savedmodel",)


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
    trusted.remember(place, file_hash(place))


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


def verify_bundle(path: Path, trust: bool = False) -> list[Verdict]:
    """Load each model of a bundle in a fresh process and compare its outputs with the expected ones.

    Args:
        path: The bundle.
        trust: Whether to run a SavedModel, which is a program, in a bundle that was not written on this machine.

    Raises:
        DataNotFoundError: There is no such file.
        ExportError: It is not a bundle, holds nothing to check, is damaged, or from a newer version.
    """
    if not path.is_file():
        raise DataNotFoundError(f"the bundle {path} does not exist.")
    trust = trust or trusted.is_known(path)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, Path(folder))
            models, examples = _read(Path(folder))
        except ExportError:
            raise
        except Exception as error:  # zipfile, Pillow and NumPy raise many types for damaged files
            raise ExportError(f"{path} is no bundle, or a damaged one: {error}") from error
        if not models:
            raise ExportError(f"{path} holds no models: there is nothing to check. Export it again.")
        return [_judge(Path(folder), model, examples, trust) for model in models]


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


@dataclass(frozen=True)
class _Model:
    """One model of a bundle: its format, its file's name, the hashes of its files, the expected outputs."""

    format: str
    file: str
    hashes: dict[str, str]
    expected: np.ndarray


@dataclass(frozen=True)
class _Examples:
    """The examples of a bundle, and what is needed to compare outputs for them."""

    given: np.ndarray
    classes: list[str]
    task: Task


def _read(folder: Path) -> tuple[list[_Model], _Examples]:
    """The models and examples of an unpacked bundle."""
    content = read_json(folder / _BUNDLE, _LARGEST_JSON)
    expected = read_json(folder / _EXPECTED, _LARGEST_JSON)
    if content["schema"] != SCHEMA:
        raise ExportError(f"the bundle has schema {content['schema']}; this version reads {SCHEMA}. Update tfransfer.")
    classes = list(names_in_lines((folder / LABELS_FILE).read_text(encoding="utf-8")))
    examples = _Examples(_read_examples(folder, expected), classes, find_task(content["task"]))
    models = []
    for name, model in content["models"].items():
        outputs = np.array(expected["outputs"][name], np.float32)
        if outputs.ndim != 2 or not len(outputs) or len(outputs) != len(examples.given):
            raise ValueError(f"its expected outputs for {name} have shape {outputs.shape}")
        hashes = {str(member): str(known) for member, known in model["hashes"].items()}
        models.append(_Model(name, PurePosixPath(model["file"]).name, hashes, outputs))
    return models, examples


def _read_examples(folder: Path, expected: dict[str, Any]) -> np.ndarray:
    if "texts" in expected:
        return np.array([str(text) for text in expected["texts"]])
    pictures: list[np.ndarray] = []
    for name in expected["examples"]:
        if PurePosixPath(name).parts[0] != "examples" or ".." in PurePosixPath(name).parts:
            raise ValueError(f"it names an example outside itself, {name!r}")
        with Image.open(folder / name, formats=["PNG"]) as picture:
            if (len(pictures) + 1) * picture.width * picture.height > _MOST_PIXELS * EXAMPLES:
                raise ValueError(f"{name} is larger than any model's input")
            pictures.append(np.asarray(picture.convert("RGB")))
    return np.stack(pictures)


def _judge(folder: Path, model: _Model, examples: _Examples, trust: bool) -> Verdict:
    wrong = _objection(folder, model, trust)
    if wrong:
        return Verdict(model.format, model.file, 0, 0, 0.0, wrong)
    try:
        answers = parity.replay_file(find_format(model.format), folder / model.file, examples.given)
    except ExportError as error:
        return Verdict(model.format, model.file, 0, 0, 0.0, str(error))
    return _compare(model, answers, examples)


def _objection(folder: Path, model: _Model, trust: bool) -> str:
    """Why a model is not run; empty if it is."""
    if model.format not in FORMATS:
        return "this version of tfransfer does not support its format"
    changed = [member for member, known in model.hashes.items() if _hash_inside(folder, member) != known]
    if changed:
        return f"{changed[0]} is not the file that was bundled"
    reader = find_format(model.format).reader
    if reader in _PROGRAMS and not trust:
        return f"not checked: it is a program; if you trust its author, give {option('trust', True)}"
    if reader == "keras":
        try:
            untrusted.require_known_parts(folder / model.file)
            untrusted.require_plain_weights(folder / model.file)
        except (TransferError, OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
            return f"not run: {error}"
    return ""


def _hash_inside(folder: Path, name: str) -> str:
    path = folder / name
    return file_hash(path) if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else ""


def _compare(model: _Model, answers: dict[str, np.ndarray], examples: _Examples) -> Verdict:
    outputs, expected = answers["first"], model.expected
    if outputs.shape != expected.shape:
        wrong = f"its outputs have shape {outputs.shape}, not {expected.shape}"
    elif not np.isfinite(outputs).all():
        wrong = "some of its outputs are not finite"
    elif not np.isfinite(expected).all():
        wrong = "some of the recorded outputs are not finite"
    else:
        same, difference = examples.task.same(outputs, expected), float(np.abs(outputs - expected).max())
        wrong = _disagreement(find_format(model.format), outputs, expected, examples.task)
        if "labels" in answers and list(answers["labels"]) != examples.classes:
            wrong = "its labels are not those of labels.txt"
        return Verdict(model.format, model.file, len(expected), int(same.sum()), difference, wrong)
    return Verdict(model.format, model.file, len(expected), 0, 0.0, wrong)


def _disagreement(kind: Format, outputs: np.ndarray, expected: np.ndarray, task: Task) -> str:
    """How outputs differ from the recorded ones by more than another machine explains; empty if they do not."""
    difference = float(np.abs(outputs - expected).max())
    allowed = (_TOLERANCE if kind.exact else _QUANTIZED_TOLERANCE) * task.magnitude(expected)
    if difference > allowed:
        return f"its outputs differ by up to {difference:.2g}; {allowed:g} is allowed"
    other = ~task.same(outputs, expected)
    if kind.exact and (other & task.clear(expected, kind.margin)).any():
        return f"it predicts another class on {int(other.sum())} of {len(expected)} examples"
    agreement = task.likeness(outputs, expected)
    if not kind.exact and agreement < parity.LEAST_AGREEMENT:
        return f"it agrees on {agreement:.0%} of {len(expected)} examples; {parity.LEAST_AGREEMENT:.0%} is required"
    return ""
