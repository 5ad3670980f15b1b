"""One training of a sweep, which only yields validation results. Test data is not read."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfransfer.exports.held_out import HeldOut
from tfransfer.recipe import Recipe
from tfransfer.runs import run_folder
from tfransfer.runs.job import Job
from tfransfer.runs.manifest import Manifest, update_manifest
from tfransfer.runs.resume import Earlier, require_same_data
from tfransfer.runs.run import Run
from tfransfer.training.phases import Selected
from tfransfer.training.session import Session


@dataclass(frozen=True)
class Combination:
    """The settings that distinguish one training of a sweep.

    Attributes:
        base: Name of the base.
        weights: Its weights file, or None.
        unfreeze: As `fine_tune.unfreeze`; 0 trains the head alone.
        learning_rate: Peak rate of the fine-tune phase; None if there is none.
    """

    base: str
    weights: str | None
    unfreeze: int | str
    learning_rate: float | None

    def recipe(self, common: Recipe) -> Recipe:
        """The sweep's common settings, overridden by this training's own."""
        if self.learning_rate is None:
            own = replace(common.fine_tune, unfreeze=self.unfreeze, epochs=0)
        else:
            own = replace(common.fine_tune, unfreeze=self.unfreeze, learning_rate=self.learning_rate)
        return replace(common, base=self.base, weights=self.weights, fine_tune=own)

    @property
    def name(self) -> str:
        """Name of its folder, readable and unique for each combination."""
        rate = "" if self.learning_rate is None else f"_{self.learning_rate!r}"
        text = f"{self.base}_{self.unfreeze}{rate}"
        plain = "".join(letter if letter.isalnum() or letter in "_-." else "-" for letter in text)
        if plain == text and len(text) < 80 and not text.startswith("."):
            return plain
        return f"{plain[-60:].lstrip('.')}_{hashlib.sha1(text.encode()).hexdigest()[:8]}"


class Trial(Job):
    """Both phases as `train` runs them, resumable as there; leaves only the manifest and the history."""

    def _finish(self, run: Run, session: Session, selected: Selected) -> None:
        run_folder.write_table(run.folder / run_folder.HISTORY, selected.history_rows())
        update_manifest(run.folder, phases=selected.to_dict(), kept=selected.phase, progress=None)
        (run.folder / run_folder.STATE).unlink(missing_ok=True)

    def _cross_validated(self, session: Session) -> None:
        """Nothing: trials are compared on validation."""

    def _finished(self, earlier: Earlier, place: Path) -> Run:
        require_same_data(earlier, self._dataset(place))
        return Run(earlier.folder, earlier.manifest)

    def _export(self, run: Run, held: HeldOut | None, resumed: bool) -> None:
        """Do nothing: there is no model to export."""


def row_of(combination: Combination, manifest: Manifest, headline: str) -> dict[str, Any]:
    """A finished trial's row: validation results of the selected phase, as plain values."""
    phases = manifest.phases
    validation = phases[manifest.kept]["validation"]
    return {
        "base": combination.base,
        "unfreeze": combination.unfreeze,
        "learning_rate": combination.learning_rate,
        f"validation_{headline}": validation[headline],
        "validation_loss": validation["loss"],
        "kept": manifest.kept,
        "head_epochs": phases["head"]["epochs"],
        "fine_tune_epochs": phases.get("fine_tune", {}).get("epochs", 0),
        "seconds": round(sum(phase["seconds"] for phase in phases.values()), 1),
    }
