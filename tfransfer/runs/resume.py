"""Resume a run that was stopped or killed: find its files, and check that data, settings and base are the same."""

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfransfer.base.build import OWN_MODEL, BuiltBase
from tfransfer.base.fingerprint import fingerprint
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import SPLITS
from tfransfer.display.progress import Say
from tfransfer.errors import BaseModelError, DataError, RunError, SettingError, TransferError
from tfransfer.recipe import Recipe, read_recipe
from tfransfer.runs import run_folder
from tfransfer.runs.manifest import Manifest, RunProgress, parse_manifest, read_values, versions
from tfransfer.system.interface import option
from tfransfer.training.checkpoint import Checkpoint
from tfransfer.training.devices import Devices
from tfransfer.training.session import Session


@dataclass(frozen=True)
class Earlier:
    """An earlier run.

    Attributes:
        folder: Its folder; next to the final place if it was to replace another run and is unfinished.
        manifest: Its manifest.
        recipe: Its settings.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe

    @property
    def finished(self) -> bool:
        """Whether the run is finished; its exports may be missing."""
        return self.manifest.finished


def find_earlier(place: Path) -> Earlier | None:
    """The earlier run in a folder or next to it; None if there is nothing to resume.

    Raises:
        RunError: Its files are damaged or of another version.
    """
    for folder in (run_folder.aside_of(place), place):
        if (folder / run_folder.MANIFEST).is_file():
            return _read(folder)
    return None


def _read(folder: Path) -> Earlier:
    values = read_values(folder)
    try:
        manifest = parse_manifest(values, folder / run_folder.MANIFEST)
        if unknown := manifest.further.get("plan"):
            raise RunError(f"its plan has {', '.join(unknown)}, which this version of tfransfer does not know.")
        recipe = read_recipe(folder / run_folder.RECIPE)
    except (TransferError, OSError) as error:
        raise RunError(
            f"{folder} cannot be resumed: {error} Start over with {option('overwrite', True)}, or choose "
            "another folder."
        ) from error
    return Earlier(folder, manifest, recipe)


def splits_of(place: Path) -> Path | None:
    """The splits file of an earlier run; None if there is no such run."""
    earlier = find_earlier(place)
    return earlier.folder / run_folder.SPLITS if earlier else None


def require_same_recipe(earlier: Earlier, given: Recipe) -> None:
    """Refuse settings that differ from the run's; defaults count as unchanged.

    Raises:
        SettingError: A setting differs.
    """
    recorded, wanted, default = (_flat(recipe.to_dict()) for recipe in (earlier.recipe, given, Recipe()))
    different = [
        f"{key} = {wanted[key]!r} (the run has {recorded.get(key)!r})"
        for key in wanted
        if wanted[key] != default.get(key) and wanted[key] != recorded.get(key)
    ]
    if different:
        raise SettingError(
            f"{earlier.folder} can only be resumed with its own settings, but these differ: {', '.join(different)}. "
            f"Leave them out, or start over with {option('overwrite', True)}."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def print_of(dataset: Dataset) -> str:
    """A hash of everything in a dataset that training uses: contents, labels, splits, classes; 128 bits in hex."""
    digest = hashlib.blake2b(repr((dataset.task, dataset.kind, dataset.classes)).encode(), digest_size=16)
    for example in dataset.examples:
        seen = (example.path, example.content, example.split, example.label, example.target)
        digest.update(repr(seen).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def require_same_data(earlier: Earlier, dataset: Dataset) -> None:
    """Check that the data is the same as at the run's start.

    Raises:
        DataError: Something was added, changed or removed.
    """
    recorded = earlier.manifest.data
    if earlier.finished and not recorded.print:  # a run of an older version
        return
    if recorded.print != print_of(dataset):
        was = ", ".join(f"{name} {size}" for name, size in recorded.sizes.items())
        now = ", ".join(f"{name} {len(dataset.split(name))}" for name in SPLITS)
        raise DataError(
            f"the data has changed since {earlier.folder} was started (it was {was}; now it is {now}): restore it, or "
            f"start over with {option('overwrite', True)}."
        )


def require_same_base(earlier: Earlier, base: BuiltBase) -> None:
    """Check that the base has the same weights and layers as at the run's start.

    Raises:
        BaseModelError: They differ.
    """
    if earlier.manifest.base_print != fingerprint(base.model):
        raise BaseModelError(
            f"the base {base.name} is not the one that {earlier.folder} was started with: its weights or layers "
            f"differ. Use the same base, or start over with {option('overwrite', True)}."
        )


def measures_of(session: Session) -> dict[str, Any]:
    """The user's loss and metrics as plain values."""
    loss = session.loss
    config = {} if loss is None else {k: v for k, v in loss.get_config().items() if isinstance(v, str | int | float)}
    return {
        "loss": None if loss is None else f"{type(loss).__name__} {json.dumps(config, sort_keys=True)}",
        "metrics": [metric.name for metric in session.metrics()] if session.metrics else [],
    }


def require_same_measures(earlier: Earlier, session: Session) -> None:
    """Check that loss and metrics are the same as at the run's start.

    Raises:
        SettingError: They differ.
    """
    was, now = earlier.manifest.measures, measures_of(session)
    if was is not None and was != now:
        raise SettingError(
            f"{earlier.folder} was started with loss and metrics {was}, now they are {now}: use the same ones, or "
            f"start over with {option('overwrite', True)}."
        )


def require_same_devices(earlier: Earlier, devices: Devices) -> None:
    """Check that the number of devices is the same as at the run's start.

    Raises:
        SettingError: It differs.
    """
    replicas = earlier.manifest.plan.replicas
    if replicas != devices.replicas:
        raise SettingError(
            f"{earlier.folder} was started on {replicas} devices, now there are {devices.replicas}: use the same "
            f"number with {option('devices')}, or start over with {option('overwrite', True)}."
        )


def require_model_given(earlier: Earlier, own_model: Any) -> None:
    """Check that a run on the user's own model is given that model again.

    Raises:
        SettingError: It is not.
    """
    if own_model is None and str(earlier.recipe.base).startswith(OWN_MODEL):
        raise SettingError(f"{earlier.folder} was started in Python with a model of your own: pass it as base again.")


def say_resuming(earlier: Earlier, say: Say) -> None:
    """Report where the run is resumed, and which versions have changed since its start."""
    progress = earlier.manifest.progress
    if progress is None:
        say(f"{earlier.folder} is already finished")
        return
    phase = progress.phase.replace("_", "-")
    where = f"in epoch {progress.epoch + 1} of the {phase} phase" if phase else "before the end of the first epoch"
    if progress.done and not phase:
        where = f"after the {progress.done[-1].replace('_', '-')} phase"
    say(f"resuming {earlier.folder}, which stopped {where}")
    now, then = versions(), earlier.manifest.versions
    changed = [f"{name} {then[name]} then, {now[name]} now" for name in now if then.get(name, now[name]) != now[name]]
    if changed:
        say(f"warning: {', '.join(changed)}: the result may differ from that of a run that was never stopped")


def progress_of(checkpoint: Checkpoint) -> RunProgress:
    """A checkpoint's progress, for the manifest."""
    loop = checkpoint.loop
    best = loop.callbacks.get("0/KeepBest", {})
    return RunProgress(
        state=run_folder.STATE,
        done=tuple(result.name for result in checkpoint.done),
        phase=checkpoint.phase,
        epoch=loop.epoch,
        step=loop.step,
        batch_size=checkpoint.batch,
        kept_epoch=best.get("kept_epoch", -1) + 1,
        kept=best.get("logs", {}),
    )


def resume_command(command: str, place: Path) -> str:
    """The command, or Python call, that resumes a run.

    Args:
        command: The command line that started it; empty if it was started in Python.
        place: Its folder.
    """
    if not command:
        return f"tfransfer.train(..., out={str(place)!r}, resume=True)"
    words = [word for word in shlex.split(command) if word not in ("--resume", "--overwrite")]
    return shlex.join([*words, "--resume"])
