"""One training that was asked for: from data to a finished run, begun anew or gone on with."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import survey
from tfransfer.data.loading import open_data
from tfransfer.display.progress import Progress, Say
from tfransfer.exports.exporting import require_saving
from tfransfer.exports.formats import require_formats
from tfransfer.exports.held_out import HeldOut
from tfransfer.recipe import Recipe
from tfransfer.runs import handover, run_folder, workers
from tfransfer.runs.finish import finish_run
from tfransfer.runs.manifest import update_manifest
from tfransfer.runs.report import report_or_warn
from tfransfer.runs.resume import (
    Earlier,
    command_to_go_on,
    find_earlier,
    progress_of,
    require_model_given,
    require_same_base,
    require_same_data,
    require_same_devices,
    require_same_measures,
    require_same_recipe,
    say_what_goes_on,
    splits_of,
)
from tfransfer.runs.run import Run, load_run
from tfransfer.runs.start import callback_factory, say_plan, start_run
from tfransfer.system.signals import Stopped, Stopping
from tfransfer.training.checkpoint import Checkpoint, Checkpoints
from tfransfer.training.devices import Devices
from tfransfer.training.opening import open_session, suited
from tfransfer.training.phases import CallbackFactory, Selected, train_phases
from tfransfer.training.plan import Plan
from tfransfer.training.session import Session


@dataclass(frozen=True, kw_only=True)
class OwnParts:
    """What a user brings of their own, from Python; see `pipeline.train`.

    Attributes:
        model: A keras.Model as base, or None.
        loss: In place of the task's.
        metrics: Builds further ones.
        callbacks: From a phase's name to fresh callbacks.
    """

    model: Any = None
    loss: Any = None
    metrics: Callable[[], list[Any]] | None = None
    callbacks: CallbackFactory | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for; see `pipeline.train` for the meaning of each.

    Attributes:
        data: A dataset, or what `load_data` takes.
        recipe: With all settings put over it.
        place: The run's folder.
        devices: What trains.
        progress: Shows how far it is.
        say: Told what was found and decided.
        own: The user's own model, loss, metrics and callbacks.
        overwrite: Whether a run may be replaced.
        resume: Whether to resume what is there.
        exports: None takes the defaults.
        tensorboard: Whether to write logs.
        command: The command line.
    """

    data: Any
    recipe: Recipe
    place: Path
    devices: Devices
    progress: Progress
    say: Say
    own: OwnParts = OwnParts()
    overwrite: bool = False
    resume: bool = False
    exports: Sequence[str] | None = None
    tensorboard: bool = False
    command: str = ""

    def run(self) -> Run:
        """Do it.

        Raises:
            Stopped: By SIGINT or SIGTERM; its message says how to go on.
            TransferError: Something is wrong.
        """
        go_on, stopping = command_to_go_on(self.command, self.place), Stopping()
        if self.devices.scoped:
            self.say(f"devices: {self.devices.name}, {self.devices.why}")
        try:
            with (
                stopping.listening(),
                workers.telling_lost_workers(self.devices, go_on),
                workers.own_place(self.devices, self.place, self.resume) as place,
            ):
                earlier = self._earlier(place)
                stopping.begun = earlier is not None
                held = None
                if earlier and earlier.finished:
                    made = self._finished(earlier, place)
                else:
                    made, held = self._train(place, earlier, stopping)
                if self.devices.chief:
                    self._export(made, held, resumed=earlier is not None)
                self.devices.meet()
                return made
        except Stopped as error:
            if not stopping.begun:
                raise Stopped("stopped before anything was decided; nothing is left of it.") from error
            raise Stopped(f"stopped; what was done is kept. To go on with it:\n{go_on}") from error

    def _earlier(self, place: Path) -> Earlier | None:
        """What an earlier run left, where this one goes on with it."""
        earlier = find_earlier(place) if self.resume else None
        if earlier is None:
            run_folder.require_free(place, self.overwrite)
            return None
        require_same_recipe(earlier, self.recipe)
        say_what_goes_on(earlier, self.say)
        return earlier

    def _finished(self, earlier: Earlier, place: Path) -> Run:
        """A run that came to its end before."""
        require_same_data(earlier, self._dataset(place))
        if not self.devices.chief:  # who has no model, and need not
            return Run(earlier.folder, earlier.manifest)
        with run_folder.alone_in(earlier.folder):
            (earlier.folder / run_folder.STATE).unlink(missing_ok=True)
        run_folder.put_in_place(earlier.folder, place)
        return load_run(place)

    def _train(self, place: Path, earlier: Earlier | None, stopping: Stopping) -> tuple[Run, HeldOut | None]:
        """Both phases, from the beginning or from where an earlier run was; the run, and what `_finish` gives."""
        began = time.time()
        dataset = self._dataset(place)
        session = self._begin(dataset) if earlier is None else self._go_on(earlier, dataset)
        grown = earlier.folder if earlier else None
        with run_folder.growing_folder(place, self.overwrite, dataset.root, grown) as folder:
            if earlier is None:
                run = start_run(folder, session, self.command)
            else:
                run = Run(folder, earlier.manifest, dataset)
            stopping.begun = True
            logs = folder / "tensorboard" if self.tensorboard and self.devices.chief else None
            users = callback_factory(self.own.callbacks, logs, earlier is not None, self.say)
            told = partial(_note_progress, folder)
            checkpoints = Checkpoints(folder / run_folder.STATE, stopping, told, of_all=self.devices.any)
            selected = train_phases(session, users, self.progress, self.say, checkpoints)
            run._model = session.model_for_export()
            held = self._finish(run, session, selected) if self.devices.chief else None
            update_manifest(folder, seconds=round(time.time() - began, 1))
        run.folder = place
        return run, held

    def _finish(self, run: Run, session: Session, selected: Selected) -> HeldOut | None:
        """Leave what a run is for: a model, evaluated and saved; returns what its exports are compared on."""
        return finish_run(run, session, selected, self.progress, self.say)

    def _dataset(self, place: Path) -> Dataset:
        splits_file = splits_of(place) if self.resume else None
        dataset = open_data(self.data, splits_file=splits_file, progress=self.progress, say=self.say)
        require_formats(self.exports or (), not dataset.modality.has_pixels)
        return dataset

    def _begin(self, dataset: Dataset) -> Session:
        """Decide what a new run does."""
        survey.say_findings(survey.index_findings(dataset), self.say)
        recipe = suited(self.recipe, dataset)
        session = self._open(dataset, recipe)
        if self.own.model is not None:
            require_saving(session.whole.model, session.plan.image_size, session.task.name)
        workers.decide_together(session, self.devices, self.say, None)
        say_plan(session, self.say)
        return session

    def _go_on(self, earlier: Earlier, dataset: Dataset) -> Session:
        """Do what was decided when the run was begun."""
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
            dataset, recipe, self.say, own_model=own.model, loss=own.loss, metrics=own.metrics, plan=plan,
            devices=self.devices,
        )  # fmt: skip

    def _export(self, run: Run, held: HeldOut | None, resumed: bool) -> None:
        """Make the files that are asked for; in a resumed run, those that it lacks."""
        wanted = run.modality.default_exports if self.exports is None else self.exports
        made = run.manifest.exports if resumed else {}
        began = time.time()
        lacking = [name for name in wanted if name not in made]
        try:
            handover.export_run(run, lacking, self.say, held=held)
        finally:  # a format that fails does not cost the run
            seconds = (run.manifest.seconds or 0.0) + time.time() - began
            update_manifest(run.folder, seconds=round(seconds, 1))
            if lacking or not (run.folder / run_folder.REPORT).is_file():
                report_or_warn(run, self.progress, self.say)


def _note_progress(folder: Path, checkpoint: Checkpoint) -> None:
    update_manifest(folder, progress=progress_of(checkpoint))
