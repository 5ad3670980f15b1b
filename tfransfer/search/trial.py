"""A training whose figures on validation are all that is wanted of it: one of a sweep. Test data is not read."""

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
    """What one training of a sweep has to itself.

    Attributes:
        base: Name of the base.
        weights: Its weights file, or None.
        unfreeze: As `fine_tune.unfreeze`; 0 trains the head alone.
        learning_rate: Peak of the fine-tune phase; None where there is none.
    """

    base: str
    weights: str | None
    unfreeze: int | str
    learning_rate: float | None

    def recipe(self, common: Recipe) -> Recipe:
        """What all trainings of a sweep have in common, with this one's own put over it."""
        if self.learning_rate is None:
            own = replace(common.fine_tune, unfreeze=self.unfreeze, epochs=0)
        else:
            own = replace(common.fine_tune, unfreeze=self.unfreeze, learning_rate=self.learning_rate)
        return replace(common, base=self.base, weights=self.weights, fine_tune=own)

    @property
    def name(self) -> str:
        """Of its folder: readable, and another one for each combination."""
        rate = "" if self.learning_rate is None else f"_{self.learning_rate!r}"
        said = f"{self.base}_{self.unfreeze}{rate}"
        plain = "".join(letter if letter.isalnum() or letter in "_-." else "-" for letter in said)
        if plain == said and len(said) < 80 and not said.startswith("."):
            return plain
        return f"{plain[-60:].lstrip('.')}_{hashlib.sha1(said.encode()).hexdigest()[:8]}"


class Trial(Job):
    """Both phases as `train` runs them, resumable like these; what is left is the manifest and the history."""

    def _finish(self, run: Run, session: Session, selected: Selected) -> None:
        run_folder.write_table(run.folder / run_folder.HISTORY, selected.history_rows())
        update_manifest(run.folder, phases=selected.to_dict(), kept=selected.phase, progress=None)
        (run.folder / run_folder.STATE).unlink(missing_ok=True)

    def _finished(self, earlier: Earlier, place: Path) -> Run:
        require_same_data(earlier, self._dataset(place))
        return Run(earlier.folder, earlier.manifest)

    def _export(self, run: Run, held: HeldOut | None, resumed: bool) -> None:
        """There is no model to export."""


def row_of(combination: Combination, manifest: Manifest, headline: str) -> dict[str, Any]:
    """What a finished trial says, as plain values: on validation, of the phase that was kept."""
    phases = manifest.phases
    kept = phases[manifest.kept]["validation"]
    return {
        "base": combination.base,
        "unfreeze": combination.unfreeze,
        "learning_rate": combination.learning_rate,
        f"validation_{headline}": kept[headline],
        "validation_loss": kept["loss"],
        "kept": manifest.kept,
        "head_epochs": phases["head"]["epochs"],
        "fine_tune_epochs": phases.get("fine_tune", {}).get("epochs", 0),
        "seconds": round(sum(phase["seconds"] for phase in phases.values()), 1),
    }
