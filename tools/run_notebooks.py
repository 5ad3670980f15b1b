"""Execute the notebooks with no network: `python tools/run_notebooks.py [NAMES...] [--keep] [--photos PLACE]`.

Each runs from top to bottom in a kernel of its own, in an empty folder with the photos beside it and with empty caches.
`--keep` writes the outputs into the notebook's file, without what would differ from one machine to the next.
Names may be parts of file names, such as 01. It takes `pip install "tfransfer[test]"`.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PHOTOS = "flower_photos"
# Nobody listens at the port "discard", so what asks the network is refused at once.
NO_NETWORK = "http://127.0.0.1:9"
# Seconds that a single cell may take.
PATIENCE = 1800


def chosen(names: Sequence[str]) -> list[Path]:
    """The notebooks whose file names contain one of the names; all where none is named."""
    every = sorted(NOTEBOOKS.glob("*.ipynb"))
    for name in names:
        if not any(Path(name).stem in path.stem for path in every):
            raise SystemExit(f"no notebook is called {name!r}; there are {', '.join(path.stem for path in every)}.")
    return [path for path in every if not names or any(Path(name).stem in path.stem for name in names)]


def lay_photos(source: Path, place: Path, each: int | None = None) -> None:
    """Put photos where a notebook looks for them.

    Args:
        source: A folder that holds a folder for each class, or a zip file of one.
        place: What appears: a folder.
        each: How many photos of each class; None takes all.
    """
    if source.is_dir() and each is None:
        place.symlink_to(source.resolve(), target_is_directory=True)
        return
    if source.is_dir():
        found = {path.relative_to(source).as_posix(): path for path in sorted(source.glob("*/*"))}
        for name in _first_of_each(found, each):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found[name], place / name)
        return
    with zipfile.ZipFile(source) as archive:
        members = {"/".join(Path(name).parts[-2:]): name for name in archive.namelist() if not name.endswith("/")}
        for name in _first_of_each(members, each):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(archive.read(members[name]))


def _first_of_each(names: Sequence[str] | dict[str, Any], each: int | None) -> list[str]:
    """Of names such as `roses/1.jpg` the first ones of each folder."""
    classes: dict[str, list[str]] = {}
    for name in sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png"))):
        classes.setdefault(name.split("/")[0], []).append(name)
    return [name for of_class in classes.values() for name in of_class[:each]]


def offline(place: Path) -> dict[str, str]:
    """The environment of a kernel that reaches no network and finds nothing that an earlier run left in a cache."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NO_NETWORK)
    caches = {
        name: str(place / "caches" / name.lower()) for name in ("KERAS_HOME", "TFHUB_CACHE_DIR", "TFRANSFER_CACHE")
    }
    for folder in caches.values():
        Path(folder).mkdir(parents=True)
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        **proxies,
        **caches,
        "no_proxy": "localhost,127.0.0.1",
        "NO_PROXY": "localhost,127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "KAGGLEHUB_CACHE": str(place / "caches"),
        "PYTHONPATH": found,
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def execute(path: Path, photos: Path | None, each: int | None = None) -> tuple[nbformat.NotebookNode, float]:
    """Run a notebook from top to bottom in an empty folder.

    Args:
        path: Its file, which stays as it is.
        photos: As `lay_photos` takes them; None lets the notebook go on without.
        each: How many photos of each class; None takes all.

    Returns:
        The notebook with its outputs, cleaned, and the seconds that it took.

    Raises:
        RuntimeError: A cell failed; the message names it and holds its error.
    """
    book = nbformat.read(path, as_version=4)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve()
        (place / "work").mkdir()
        if photos is not None:
            lay_photos(photos, place / "work" / PHOTOS, each)
        _run(book, path.name, place)
        return cleaned(book, place / "work"), time.perf_counter() - began


def _run(book: nbformat.NotebookNode, name: str, place: Path) -> None:
    # What native libraries write to the file descriptors of the kernel's process stays out of the outputs.
    client = NotebookClient(
        book, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(place / "work")}},
        extra_arguments=["--IPKernelApp.capture_fd_output=False", "--IPKernelApp.log_level=40"], record_timing=False,
    )  # fmt: skip
    try:
        asyncio.run(client.async_execute(env=offline(place)))  # `execute` would leave its event loop open
    except CellExecutionError as error:
        raise RuntimeError(_failure(book, name)) from error


def _failure(book: nbformat.NotebookNode, name: str) -> str:
    """Which cell failed, its source and its error, in plain text."""
    for number, cell in enumerate(book.cells):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
                return f"{name}, cell {number}, failed:\n{cell.source}\n{trace}"
    return f"{name} failed."


def cleaned(book: nbformat.NotebookNode, work: Path) -> nbformat.NotebookNode:
    """A notebook without what would differ from one machine to the next: times, widget states, the folder's path."""
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [_without_path(output, work) for output in merged(cell.outputs)]
    return book


def _without_path(output: nbformat.NotebookNode, work: Path) -> nbformat.NotebookNode:
    text = json.dumps(output)
    for path, stand_in in ((f"{work}/", ""), (str(work), "."), (str(work.parent), ".")):
        text = text.replace(json.dumps(path)[1:-1], stand_in)
    return nbformat.from_dict(json.loads(text))


def merged(outputs: Sequence[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs in which what was written to one stream without a break is one; how a kernel cuts it is chance."""
    found: list[nbformat.NotebookNode] = []
    for output in outputs:
        if found and output.output_type == "stream" and found[-1].get("name") == output.name:
            found[-1].text += output.text
        else:
            found.append(nbformat.from_dict(output))
    return found


def kinds(cell: nbformat.NotebookNode) -> list[str]:
    """What kinds of output a code cell has, in order: `stdout`, `error NameError`, `text/html+text/plain`."""
    found = []
    for output in merged(cell.outputs):
        if output.output_type == "stream":
            found.append(output.name)
        elif output.output_type == "error":
            found.append(f"error {output.ename}")
        else:
            found.append(f"{output.output_type} {'+'.join(sorted(output.data))}")
    return found


def _told(cell: nbformat.NotebookNode) -> str:
    return ", ".join(kinds(cell)) or "nothing"


def disagreements(kept: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> list[str]:
    """In words, each code cell whose kept outputs are of other kinds than those that it gives now."""
    found = []
    for number, (one, other) in enumerate(zip(kept.cells, executed.cells, strict=True)):
        if one.cell_type == "code" and kinds(one) != kinds(other):
            found.append(f"cell {number}: kept is {_told(one)}, the code gives {_told(other)}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of file names; none runs all")
    parser.add_argument("--keep", action="store_true", help="write the outputs into the notebooks")
    parser.add_argument("--photos", type=Path, help="a folder with a folder per class, or a zip file of one")
    parser.add_argument("--each", type=int, help="how many photos of each class; all where it is left out")
    options = parser.parse_args(arguments)
    failed = 0
    for path in chosen(options.names):
        try:
            book, seconds = execute(path, options.photos, options.each)
        except RuntimeError as error:
            failed += 1
            print(error, file=sys.stderr)
            continue
        print(f"{path.name}: {seconds:.0f} s", flush=True)
        if options.keep:
            nbformat.write(book, path)
        else:
            for line in disagreements(nbformat.read(path, as_version=4), book):
                print(f"  {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
