"""Several workers on one run: the chief decides and writes, the others follow in temporary folders."""

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

# The files that a run is resumed from.
_RESUME_FILES = (run_folder.MANIFEST, run_folder.RECIPE, run_folder.SPLITS, run_folder.STATE)


@contextmanager
def own_place(devices: Devices, place: Path, resume: bool) -> Iterator[Path]:
    """The folder for this worker's files: the run's own for the chief, a temporary one for the others.

    When a run is resumed, the others are sent its files, because they may not see the chief's disk.
    """
    if devices.chief:
        if resume:
            devices.agreed(_packed(place))
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="tfransfer-worker-") as folder:
        if resume:
            with zipfile.ZipFile(io.BytesIO(devices.agreed(None))) as archive:
                for name in set(archive.namelist()) & set(_RESUME_FILES):
                    (Path(folder) / "run").mkdir(exist_ok=True)
                    (Path(folder) / "run" / name).write_bytes(archive.read(name))
        yield Path(folder) / "run"


def _packed(place: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for folder in (run_folder.aside_of(place), place):
            if (folder / run_folder.MANIFEST).is_file():
                for name in _RESUME_FILES:
                    if (folder / name).is_file():
                        archive.write(folder / name, name)
                break
    return stream.getvalue()


def decide_together(session: Session, devices: Devices, say: Say, decided: CachePlan | None) -> None:
    """Decide what to cache of the frozen part: the chief measures, the others adopt its decision."""
    _require_same(session, devices)
    session.assemble()  # all workers at the same point, because the chief sends its initial weights to the others
    if devices.chief or decided is not None:
        session.decide_caching(say, decided)
    if decided is None:
        plan = devices.agreed(json.dumps(asdict(session.caching.plan)).encode() if devices.chief else None)
        if not devices.chief:
            session.decide_caching(say, read_section(CachePlan, json.loads(plan)))


def _require_same(session: Session, devices: Devices) -> None:
    """Check that each worker has the same data, base and plan as the chief; if one differs, all fail together.

    Raises:
        DataError: A worker differs.
    """
    if devices.workers == 1:
        return
    own = {"data": print_of(session.dataset), "base": fingerprint(session.base.model), "plan": session.plan.to_dict()}
    chiefs = json.loads(devices.agreed(json.dumps(own).encode() if devices.chief else None))
    different = [name for name, value in json.loads(json.dumps(own)).items() if value != chiefs[name]]
    if devices.any(bool(different)):
        differ = "differs" if len(different) == 1 else "differ"
        raise DataError(
            f"worker {devices.worker}'s {' and '.join(different)} {differ} from worker 0's: give all workers the same "
            "files and settings."
            if different
            else "the workers differ in data, base or plan: see the message of the worker that differs from worker 0."
        )


@contextmanager
def telling_lost_workers(devices: Devices, resume: str) -> Iterator[None]:
    """Raise an error that explains how to resume when another worker is lost.

    Raises:
        WorkerLostError: A worker died or cannot be reached.
    """
    try:
        yield
    except LOST as error:
        if devices.workers == 1:
            raise
        raise WorkerLostError(
            f"worker {devices.worker} stops: another of the {devices.workers} workers died or cannot be reached "
            f"({str(error).splitlines()[0][:200]}). Progress is saved; to resume, start all workers again with\n"
            f"{resume}"
        ) from error
