"""Several workers on one run: the chief decides and writes, the others follow in a folder of their own."""

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tfransfer.base.fingerprint import fingerprint
from tfransfer.display.progress import Say
from tfransfer.errors import DataError
from tfransfer.features.plan import CachePlan
from tfransfer.recipe import read_section
from tfransfer.runs import run_folder
from tfransfer.runs.resume import print_of
from tfransfer.training.devices import LOST, Devices, WorkerLostError
from tfransfer.training.session import Session

# What a run goes on from.
_LEFT = (run_folder.MANIFEST, run_folder.RECIPE, run_folder.SPLITS, run_folder.STATE)


@contextmanager
def own_place(devices: Devices, place: Path, resume: bool) -> Iterator[Path]:
    """The folder for this worker's files: the run's own for the chief, one that goes away for the others.

    Where the run goes on with what an earlier one left, the others get that too: they may not see the chief's disk.
    """
    if devices.chief:
        if resume:
            devices.agreed(_packed(place))
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="tfransfer-worker-") as folder:
        if resume:
            with zipfile.ZipFile(io.BytesIO(devices.agreed(None))) as archive:
                for name in set(archive.namelist()) & set(_LEFT):
                    (Path(folder) / "run").mkdir(exist_ok=True)
                    (Path(folder) / "run" / name).write_bytes(archive.read(name))
        yield Path(folder) / "run"


def _packed(place: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for folder in (run_folder.aside_of(place), place):
            if (folder / run_folder.MANIFEST).is_file():
                for name in _LEFT:
                    if (folder / name).is_file():
                        archive.write(folder / name, name)
                break
    return stream.getvalue()


def decide_together(session: Session, devices: Devices, say: Say, decided: CachePlan | None) -> None:
    """Decide what is kept of the frozen part: the chief measures, the others do what it found."""
    _require_same(session, devices)
    session.assemble()  # by all at this point, because the chief sends its first weights to the others
    if devices.chief or decided is not None:
        session.decide_caching(say, decided)
    if decided is None:
        said = json.dumps(asdict(session.caching.plan)).encode() if devices.chief else None
        said = devices.agreed(said)
        if not devices.chief:
            session.decide_caching(say, read_section(CachePlan, json.loads(said)))


def _require_same(session: Session, devices: Devices) -> None:
    """See that each worker has the same data, base and plan as the chief; all end together where one has not.

    Raises:
        DataError: One has not.
    """
    if devices.workers == 1:
        return
    own = {"data": print_of(session.dataset), "base": fingerprint(session.base.model), "plan": session.plan.to_dict()}
    said = json.loads(devices.agreed(json.dumps(own).encode() if devices.chief else None))
    other = [name for name, value in json.loads(json.dumps(own)).items() if value != said[name]]
    if devices.any(bool(other)):
        raise DataError(
            f"worker {devices.worker} has another {' and another '.join(other)} than worker 0: give all the same files."
            if other
            else "the workers do not all have the same data, base and plan; the one that differs says what."
        )


@contextmanager
def telling_lost_workers(devices: Devices, go_on: str) -> Iterator[None]:
    """Say that a worker died, and how to go on.

    Raises:
        WorkerLostError: It did.
    """
    try:
        yield
    except LOST as error:
        if devices.workers == 1:
            raise
        raise WorkerLostError(
            f"worker {devices.worker} cannot go on: another of the {devices.workers} workers died or cannot be reached "
            f"({str(error).splitlines()[0][:200]}). What was done is kept; to go on, start all workers again with\n"
            f"{go_on}"
        ) from error
