"""A run's folder among several processes, and after one was killed."""

import os
import signal
import sys
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tfransfer.errors import RunExistsError, WriteError
from tfransfer.runs import run_folder
from tfransfer.system import files

DONE, REFUSED, FAILED = 0, 3, 1
NOWHERE = Path("/nowhere")


def write_run(place, overwrite=False):
    with run_folder.growing_folder(place, overwrite, NOWHERE) as folder:
        files.write_text(folder / run_folder.SPLITS, "splits")
        files.write_text(folder / run_folder.MANIFEST, f"of {os.getpid()}")
        files.write_text(folder / run_folder.LABELS, f"of {os.getpid()}")


def fail_early(place, overwrite=False):
    with suppress(ZeroDivisionError), run_folder.growing_folder(place, overwrite, NOWHERE) as folder:
        files.write_text(folder / run_folder.SPLITS, "splits")
        raise ZeroDivisionError


def at_once(*functions):
    """The exit codes of functions that begin at the same time, each in a process of its own."""
    start, gate = os.pipe()
    children = []
    for function in functions:
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = FAILED
        try:
            os.close(gate)
            os.read(start, 1)
            function()
            code = DONE
        except RunExistsError:
            code = REFUSED
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    os.close(gate)
    os.close(start)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.parametrize("earlier", ["nothing", "an empty folder", "a start", "a run"])
def test_of_trainings_with_one_out_that_begin_at_once_one_is_done_and_the_others_are_refused(earlier, tmp_path):
    """Before, 114 of 150 pairs ended with raw errors, because the second removed the folder of the first."""
    ends = Counter()
    for number in range(15):
        place = tmp_path / str(number)
        if earlier != "nothing":
            place.mkdir()
        if earlier == "a start":
            (place / run_folder.SPLITS).write_text("of a process that was killed early")
        if earlier == "a run":
            (place / run_folder.MANIFEST).write_text("old")
        write = lambda place=place: write_run(place, overwrite=earlier == "a run")  # noqa: E731
        codes = at_once(write, write, write)
        ends.update(codes)
        assert DONE in codes, codes
        assert (place / run_folder.MANIFEST).read_text() == (place / run_folder.LABELS).read_text() != "old"
        assert {p.name for p in place.iterdir()} == {run_folder.SPLITS, run_folder.MANIFEST, run_folder.LABELS}
        assert {p.name for p in tmp_path.iterdir()} == {str(n) for n in range(number + 1)}
    assert set(ends) <= {DONE, REFUSED}, ends


def test_the_lock_of_a_process_that_comes_after_the_move_stays(tmp_path, monkeypatch):
    """Without it a third process would come into the same folder."""
    folder, place = tmp_path / "growing", tmp_path / "place"
    move = run_folder.put_in_place

    def moved_and_made_anew(*ends):
        move(*ends)
        folder.mkdir()
        (folder / ".lock").write_text("of another process")

    monkeypatch.setattr(run_folder, "put_in_place", moved_and_made_anew)
    with run_folder.alone_until_placed(folder, place, create=True):
        (folder / run_folder.MANIFEST).write_text("done")
    assert [path.name for path in place.iterdir()] == [run_folder.MANIFEST]
    assert (folder / ".lock").read_text() == "of another process"


def test_a_start_that_fails_takes_nothing_from_one_that_goes_on(tmp_path):
    for number in range(15):
        place = tmp_path / str(number)
        codes = at_once(lambda p=place: fail_early(p), lambda p=place: write_run(p), lambda p=place: fail_early(p))
        assert set(codes) <= {DONE, REFUSED}
        assert codes[1] == REFUSED or (place / run_folder.MANIFEST).is_file()
        assert not place.exists() or (place / run_folder.MANIFEST).is_file()


def killed_between_renames(function, monkeypatch):
    """Call a function in a fork that is killed once it has made one rename of a folder."""
    rename = Path.rename

    def once(self, target):
        rename(self, target)
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Path, "rename", once)
    (code,) = at_once(function)
    monkeypatch.undo()
    assert code == -signal.SIGKILL


def write_folder(path, content):
    with files.whole(path) as temporary:
        temporary.mkdir()
        (temporary / "model").write_text(content)


def test_a_folder_whose_replacement_is_killed_between_the_renames_is_brought_back(tmp_path, monkeypatch):
    path = tmp_path / "savedmodel"
    write_folder(path, "old")
    killed_between_renames(lambda: write_folder(path, "new"), monkeypatch)
    assert not path.exists()
    with run_folder.alone_in(tmp_path):
        assert (path / "model").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["savedmodel"]
    killed_between_renames(lambda: write_folder(path, "new"), monkeypatch)
    write_folder(path, "newest")
    assert (path / "model").read_text() == "newest"


def test_a_run_whose_replacement_is_killed_between_the_renames_is_brought_back(tmp_path, monkeypatch):
    place = tmp_path / "run"
    write_run(place)
    old = (place / run_folder.MANIFEST).read_text()
    killed_between_renames(lambda: write_run(place, overwrite=True), monkeypatch)
    assert not place.exists()
    with pytest.raises(RunExistsError, match="resume=True"):
        write_run(place)
    fail_early(place, overwrite=True)
    assert (place / run_folder.MANIFEST).read_text() == old
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_locked_folder_is_named_with_an_option_only_where_the_command_has_it(tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    with run_folder.alone_in(place):
        waiting = pytest.raises(RunExistsError, match=r"another process is writing to .*: wait until it is done\.$")
        with waiting, run_folder.alone_in(place):
            pass
        with pytest.raises(RunExistsError, match=r"another process is writing to .*: wait, or .* out\.$"):
            write_run(place)
    assert not place.exists(), "an empty folder is not left behind"


def test_a_folder_that_tensorflow_could_not_load_from_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.raises(WriteError, match=r"for a pattern.*no links here"):
        run_folder.require_free(tmp_path / "run [1]", False)
