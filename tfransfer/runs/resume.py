"""Going on with a run that was stopped or killed: what it left, and whether data, settings and base are the same."""

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
from tfransfer.training.checkpoint import Checkpoint
from tfransfer.training.devices import Devices
from tfransfer.training.session import Session


@dataclass(frozen=True)
class Earlier:
    """What an earlier run left.

    Attributes:
        folder: Where it stands: beside its place while it was to replace another run.
        manifest: What its `manifest.json` says.
        recipe: Its settings.
    """

    folder: Path
    manifest: Manifest
    recipe: Recipe

    @property
    def finished(self) -> bool:
        """Whether it came to its end; its exports may be missing."""
        return self.manifest.finished


def find_earlier(place: Path) -> Earlier | None:
    """What an earlier run left in its folder, or beside it; None where there is nothing to go on with.

    Raises:
        RunError: Its files are damaged, or of another version.
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
            f"{folder} cannot be gone on with: {error} Train anew, with --overwrite where it is to be replaced."
        ) from error
    return Earlier(folder, manifest, recipe)


def splits_of(place: Path) -> Path | None:
    """The splits that an earlier run recorded; None where it left none."""
    earlier = find_earlier(place)
    return earlier.folder / run_folder.SPLITS if earlier else None


def require_same_recipe(earlier: Earlier, given: Recipe) -> None:
    """See that nothing is asked for that the run was not begun with; what is not said counts as the same.

    Raises:
        SettingError: It is.
    """
    recorded, wanted, default = (_flat(recipe.to_dict()) for recipe in (earlier.recipe, given, Recipe()))
    other = [
        f"{key} = {wanted[key]!r} (it has {recorded.get(key)!r})"
        for key in wanted
        if wanted[key] != default.get(key) and wanted[key] != recorded.get(key)
    ]
    if other:
        raise SettingError(
            f"{earlier.folder} goes on with the settings it began with; asked for is {', '.join(other)}. Leave these "
            "out, or train anew with --overwrite."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def print_of(dataset: Dataset) -> str:
    """A hash of all that training sees of a dataset: contents, labels, splits, classes; 128 bits in hexadecimal."""
    digest = hashlib.blake2b(repr((dataset.task, dataset.kind, dataset.classes)).encode(), digest_size=16)
    for example in dataset.examples:
        seen = (example.path, example.content, example.split, example.label, example.target)
        digest.update(repr(seen).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def require_same_data(earlier: Earlier, dataset: Dataset) -> None:
    """See that the data is what the run was begun with.

    Raises:
        DataError: Something was added, changed or removed.
    """
    known = earlier.manifest.data
    if earlier.finished and not known.print:  # of an older version
        return
    if known.print != print_of(dataset):
        was = ", ".join(f"{name} {size}" for name, size in known.sizes.items())
        now = ", ".join(f"{name} {len(dataset.split(name))}" for name in SPLITS)
        raise DataError(
            f"the data has changed since {earlier.folder} was begun (it was {was}; it is {now}): put it back as it "
            "was, or train anew with --overwrite."
        )


def require_same_base(earlier: Earlier, base: BuiltBase) -> None:
    """See that the base has the weights that the run was begun with.

    Raises:
        BaseModelError: It has others.
    """
    if earlier.manifest.base_print != fingerprint(base.model):
        raise BaseModelError(
            f"the base {base.name} is not the one that {earlier.folder} was begun with: its weights or layers differ. "
            "Give it the same ones, or train anew with --overwrite."
        )


def measures_of(session: Session) -> dict[str, Any]:
    """What the loss and the metrics are, in plain values."""
    loss = session.loss
    config = {} if loss is None else {k: v for k, v in loss.get_config().items() if isinstance(v, str | int | float)}
    return {
        "loss": None if loss is None else f"{type(loss).__name__} {json.dumps(config, sort_keys=True)}",
        "metrics": [metric.name for metric in session.metrics()] if session.metrics else [],
    }


def require_same_measures(earlier: Earlier, session: Session) -> None:
    """See that the loss and the metrics are those that the run was begun with.

    Raises:
        SettingError: They are not.
    """
    was, now = earlier.manifest.measures, measures_of(session)
    if was is not None and was != now:
        raise SettingError(
            f"{earlier.folder} was begun with loss and metrics {was}; given is {now}. Give it the same ones, or train "
            "anew with --overwrite."
        )


def require_same_devices(earlier: Earlier, devices: Devices) -> None:
    """See that as many devices train as when the run was begun.

    Raises:
        SettingError: There are more or fewer.
    """
    replicas = earlier.manifest.plan.replicas
    if replicas != devices.replicas:
        raise SettingError(
            f"{earlier.folder} was begun on {replicas} devices; {devices.replicas} are here: give it as "
            "many with --devices, or train anew with --overwrite."
        )


def require_model_given(earlier: Earlier, own_model: Any) -> None:
    """See that a run on a model of the user's own is given that model again.

    Raises:
        SettingError: It is not.
    """
    if own_model is None and str(earlier.recipe.base).startswith(OWN_MODEL):
        raise SettingError(f"{earlier.folder} was begun in Python with a model of your own: give it as base again.")


def say_what_goes_on(earlier: Earlier, say: Say) -> None:
    """Tell where the run stands, and what differs from when it was begun."""
    progress = earlier.manifest.progress
    if progress is None:
        say(f"{earlier.folder} came to its end before")
        return
    phase = progress.phase.replace("_", "-")
    where = f"in epoch {progress.epoch + 1} of the {phase} phase" if phase else "before the first epoch was done"
    if progress.done and not phase:
        where = f"after the {progress.done[-1].replace('_', '-')} phase"
    say(f"resuming {earlier.folder}, which stands {where}")
    now, then = versions(), earlier.manifest.versions
    others = [f"{name} {then[name]} then, {now[name]} now" for name in now if then.get(name, now[name]) != now[name]]
    if others:
        say(f"warning: {', '.join(others)}: the result may differ from that of a run that was never stopped")


def progress_of(checkpoint: Checkpoint) -> RunProgress:
    """Where a run stands, for its manifest."""
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


def command_to_go_on(command: str, place: Path) -> str:
    """What goes on with a run.

    Args:
        command: The command line that began it; empty where it was begun in Python.
        place: Its folder.
    """
    if not command:
        return f"tfransfer.train(..., out={str(place)!r}, resume=True)"
    words = [word for word in shlex.split(command) if word not in ("--resume", "--overwrite")]
    return shlex.join([*words, "--resume"])
