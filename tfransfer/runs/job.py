"""A training job: from data to a finished run, new or resumed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import survey
from tfransfer.data.loading import open_data
from tfransfer.data.modality import Modality
from tfransfer.display.progress import Progress, Say
from tfransfer.exports.exporting import require_saving
from tfransfer.exports.formats import require_formats
from tfransfer.exports.held_out import HeldOut
from tfransfer.recipe import Recipe
from tfransfer.runs import handover, run_folder, workers
from tfransfer.runs.cross_validation import cross_validate_head, is_needed
from tfransfer.runs.finish import finish_run
from tfransfer.runs.manifest import update_manifest
from tfransfer.runs.own_parts import OwnParts, callback_factory, own_callbacks, require_own_parts
from tfransfer.runs.report import report_or_warn
from tfransfer.runs.resume import (
    Earlier,
    find_earlier,
    progress_of,
    require_model_given,
    require_same_base,
    require_same_data,
    require_same_devices,
    require_same_measures,
    require_same_recipe,
    resume_command,
    say_resuming,
    splits_of,
)
from tfransfer.runs.run import Run, load_run
from tfransfer.runs.start import say_plan, start_run
from tfransfer.system.extras import TENSORBOARD, require_packages
from tfransfer.system.signals import Stopped, Stopping
from tfransfer.training.checkpoint import Checkpoint, Checkpoints
from tfransfer.training.devices import Devices
from tfransfer.training.opening import open_session, suited
from tfransfer.training.phase import FINE_TUNE, HEAD
from tfransfer.training.phases import CallbackFactory, Selected, train_phases
from tfransfer.training.plan import Plan
from tfransfer.training.session import Session


@dataclass(frozen=True, kw_only=True)
class Job:
    """A requested training; see `pipeline.train` for details.

    Attributes:
        data: A dataset, or anything that `load_data` takes.
        recipe: The recipe with all settings applied.
        place: The run's folder.
        devices: Devices to train on.
        progress: Shows the progress.
        say: Called with lines on findings and decisions.
        own: The user's own model, loss, metrics and callbacks.
        overwrite: Whether an existing run may be replaced.
        resume: Whether to resume an existing run.
        exports: Formats to export; None takes the defaults.
        tensorboard: Whether to write logs.
        command: The command line.
    """

    data: Any
    recipe: Recipe
    place: Path
    devices: Devices
    progress: Progress
    say: Say
    own: OwnParts = field(default_factory=OwnParts)
    overwrite: bool = False
    resume: bool = False
    exports: Sequence[str] | None = None
    tensorboard: bool = False
    command: str = ""

    def run(self) -> Run:
        """Run the job.

        Raises:
            Stopped: SIGINT or SIGTERM arrived; the message says how to resume.
            TransferError: Anything that stops the training.
        """
        require_packages([TENSORBOARD] if self.tensorboard else (), "tensorboard=True", TENSORBOARD)
        resume, stopping = resume_command(self.command, self.place), Stopping()
        if self.devices.scoped:
            self.say(f"devices: {self.devices.name}, {self.devices.why}")
        try:
            with (
                stopping.listening(),
                workers.telling_lost_workers(self.devices, resume),
                workers.own_place(self.devices, self.place, self.resume) as place,
            ):
                earlier = self._earlier(place)
                stopping.begun = earlier is not None
                held = None
                if earlier and earlier.finished:
                    run = self._finished(earlier, place)
                else:
                    run, held = self._train(place, earlier, stopping)
                if self.devices.chief:
                    self._export(run, held, resumed=earlier is not None)
                self.devices.meet()
                return run
        except Stopped as error:
            if not stopping.begun:
                raise Stopped("stopped before the run began; nothing was saved.") from error
            raise Stopped(f"stopped; progress is saved. To resume:\n{resume}") from error

    def _earlier(self, place: Path) -> Earlier | None:
        """The earlier run to resume; None for a new run."""
        earlier = find_earlier(place) if self.resume else None
        if earlier is None:
            run_folder.require_free(place, self.overwrite)
            return None
        require_same_recipe(earlier, self.recipe)
        say_resuming(earlier, self.say)
        return earlier

    def _finished(self, earlier: Earlier, place: Path) -> Run:
        """An earlier run that is already finished."""
        require_same_data(earlier, self._dataset(place))
        if not self.devices.chief:  # the other workers have no copy of the model, and need none
            return Run(earlier.folder, earlier.manifest)
        with run_folder.alone_until_placed(earlier.folder, place):
            (earlier.folder / run_folder.STATE).unlink(missing_ok=True)
        return load_run(place)

    def _train(self, place: Path, earlier: Earlier | None, stopping: Stopping) -> tuple[Run, HeldOut | None]:
        """Train both phases, from the start or resumed; return the run and the result of `_finish`."""
        began = time.time()
        dataset = self._dataset(place)
        session = self._begin(dataset) if earlier is None else self._resume(earlier, dataset)
        own = self._own_callbacks(session)
        unfinished = earlier.folder if earlier else None
        with run_folder.growing_folder(place, self.overwrite, dataset.root, unfinished) as folder:
            if earlier is None:
                run = start_run(folder, session, self.command)
            else:
                run = Run(folder, earlier.manifest, dataset)
            stopping.begun = True
            logs = folder / "tensorboard" if self.tensorboard and self.devices.chief else None
            callbacks = callback_factory(own, logs, earlier is not None, self.say)
            record = partial(_record_progress, folder)
            checkpoints = Checkpoints(folder / run_folder.STATE, stopping, record, of_all=self.devices.any)
            # Before training, because fine-tuning changes the base that these features come from.
            session.cross_validated = self._cross_validated(session)
            selected = train_phases(session, callbacks, self.progress, self.say, checkpoints)
            run._model = session.model_for_export()
            held = self._finish(run, session, selected) if self.devices.chief else None
            update_manifest(folder, seconds=round(time.time() - began, 1))
        run.folder = place
        return run, held

    def _own_callbacks(self, session: Session) -> CallbackFactory:
        """The user's callbacks, checked like the user's loss and metrics."""
        directions = require_own_parts(self.own, session.task, len(session.dataset.classes))
        phases = (HEAD, FINE_TUNE) if session.plan.fine_tune_epochs else (HEAD,)
        return own_callbacks(self.own.callbacks, directions, phases)

    def _finish(self, run: Run, session: Session, selected: Selected) -> HeldOut | None:
        """Evaluate and save the model; return the examples that its exports are compared on."""
        return finish_run(run, session, selected, self.progress, self.say)

    def _cross_validated(self, session: Session) -> dict[str, Any] | None:
        """The cross-validated figure of the head, where the test split is too small and one machine has all data."""
        if not is_needed(session.dataset, session.recipe) or self.devices.workers > 1:
            return None
        recipe, cached = session.recipe, session.caching.plan
        if cached.head:  # with the training's engine, so that each extracts for the other
            recipe = recipe.with_settings({"features.engine": cached.engine})
        figure = cross_validate_head(session.dataset, session.base, recipe, self.progress, self.say)
        if session.caching.source is not None and session.caching.engine is not None:  # rows are still missing
            session.caching.source.reload()  # so that it finds what was extracted just now
        return figure

    def _dataset(self, place: Path) -> Dataset:
        splits_file = splits_of(place) if self.resume else None
        dataset = open_data(self.data, splits_file=splits_file, progress=self.progress, say=self.say)
        require_formats(self.exports or (), not dataset.modality.has_pixels)
        return dataset

    def _begin(self, dataset: Dataset) -> Session:
        """Open the session of a new run."""
        survey.say_findings(survey.index_findings(dataset), self.say)
        recipe = suited(self.recipe, dataset, self.say)
        session = self._open(dataset, recipe)
        if self.own.model is not None:
            require_saving(session.whole.model, session.plan.image_size, session.task.name)
        session.decide_pooling(self.progress, self.say)
        workers.decide_together(session, self.devices, self.say, None)
        say_plan(session, self.say, 1 + len(self._wanted(dataset.modality)))
        return session

    def _resume(self, earlier: Earlier, dataset: Dataset) -> Session:
        """Open the session of a resumed run, under the plan of its first start."""
        require_same_data(earlier, dataset)
        require_model_given(earlier, self.own.model)
        require_same_devices(earlier, self.devices)
        session = self._open(dataset, earlier.recipe, earlier.manifest.plan)
        require_same_base(earlier, session.base)
        require_same_measures(earlier, session)
        workers.decide_together(session, self.devices, self.say, earlier.manifest.features)
        return session

    def _open(self, dataset: Dataset, recipe: Recipe, plan: Plan | None = None) -> Session:
        own = self.own
        return open_session(
            dataset, recipe, self.say, own_model=own.model, loss=own.loss, metrics=own.new_metrics, plan=plan,
            devices=self.devices,
        )  # fmt: skip

    def _wanted(self, modality: Modality) -> Sequence[str]:
        """The formats to export to, besides `.keras`."""
        return modality.default_exports if self.exports is None else self.exports

    def _export(self, run: Run, held: HeldOut | None, resumed: bool) -> None:
        """Export to the requested formats; in a resumed run, to those that are missing."""
        wanted = self._wanted(run.modality)
        existing = run.manifest.exports if resumed else {}
        began = time.time()
        missing = [name for name in wanted if name not in existing]
        reported = not missing and (run.folder / run_folder.REPORT).is_file()
        try:
            handover.export_run(run, missing, self.say, held=held)
        except Exception:  # the run is complete even if a format fails; one that was stopped is not
            self._conclude(run, began, reported)
            raise
        self._conclude(run, began, reported)

    def _conclude(self, run: Run, began: float, reported: bool) -> None:
        """Record the time that exporting took, and write the report."""
        seconds = (run.manifest.seconds or 0.0) + time.time() - began
        update_manifest(run.folder, seconds=round(seconds, 1))
        if not reported:
            report_or_warn(run, self.progress, self.say)


def _record_progress(folder: Path, checkpoint: Checkpoint) -> None:
    update_manifest(folder, progress=progress_of(checkpoint))
