"""Start a run: print and record the plan before the first step."""

import os
from pathlib import Path

from tfransfer.base.fingerprint import fingerprint
from tfransfer.data import splits
from tfransfer.data.dataset import Dataset
from tfransfer.data.index import SPLITS
from tfransfer.display.progress import Say
from tfransfer.methods.heads.registry import head_method
from tfransfer.recipe import write_recipe
from tfransfer.runs import run_folder
from tfransfer.runs.manifest import DataRecord, Manifest, versions, write_manifest
from tfransfer.runs.resume import measures_of, print_of, progress_of
from tfransfer.runs.run import Run
from tfransfer.system.files import lines, write_text
from tfransfer.tasks.task import find_task
from tfransfer.training.checkpoint import Checkpoint
from tfransfer.training.session import Session


def start_run(place: Path, session: Session, command: str) -> Run:
    """Write everything that is known before the first step: splits, issues, labels, recipe, manifest."""
    dataset, plan = session.dataset, session.plan
    splits.write_splits(place / run_folder.SPLITS, dataset)
    run_folder.write_issues(place / run_folder.DATA_ISSUES, dataset.issues)
    write_text(place / run_folder.LABELS, lines(dataset.classes))
    # If the built-in base replaced another one, the command alone could train that one on another machine.
    repeat = f"{command} --base {plan.base}" if command and plan.instead_of else command
    write_recipe(place / run_folder.RECIPE, session.recipe, repeat or "made in Python with tfransfer.train")
    manifest = Manifest(
        versions=versions(),
        task=session.task.name,
        classes=dataset.classes,
        seeds={"seed": session.recipe.seed, "split_seed": dataset.split_seed},
        data=data_record(dataset),
        base_print=fingerprint(session.base.model),
        measures=measures_of(session),
        plan=plan,
        features=session.caching.plan,
        progress=progress_of(Checkpoint()),
    )
    write_manifest(place, manifest)
    return Run(place, manifest, dataset)


def data_record(dataset: Dataset) -> DataRecord:
    """The manifest's record of the data."""
    return DataRecord(
        source=dataset.source,
        origin=dataset.origin,
        kind=dataset.kind,
        root=os.path.abspath(dataset.root),
        print=print_of(dataset),
        sizes={name: len(dataset.split(name)) for name in SPLITS},
        counts={name: dict(counts) for name, counts in dataset.counts().items()},
        set_aside=sum(issue.set_aside for issue in dataset.issues),
        notes=dataset.notes,
    )


def say_plan(session: Session, say: Say, files: int) -> None:
    """Print the data, the base and the plan, which ends with a number of exported files."""
    dataset, plan = session.dataset, session.plan
    sizes = ", ".join(f"{name} {len(dataset.split(name))}" for name in ("train", "validation", "test"))
    say(f"data: {find_task(dataset.task).in_words(dataset.classes)}; {sizes}")
    for note in dataset.notes:
        say(f"data: {note}")
    then = f", then {plan.fine_tune_epochs} epochs with {', '.join(plan.unfrozen)} unfrozen" if plan.unfrozen else ""
    size = f" at {plan.image_size} pixels" if plan.image_size else ""
    say(f"base: {plan.base}{size}, weights from {plan.weights}, {plan.precision}")
    head = head_method(session.recipe.head.method).in_words(plan.head_epochs)
    say(f"plan: {head}{then}, {plan.batch_size} {session.unit} per step")
    say(session.caching.plan.sentence())
    if predicted := session.caching.plan.predicted():
        say(predicted)
    held_out = [len(dataset.split(name)) for name in ("validation", "test")]
    if finishing := session.caching.plan.finishing(held_out, files):
        say(finishing)
