"""`tfransfer check`: what is wrong with data."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tfransfer.cli.loading import load_pipeline
from tfransfer.cli.options import (
    BASE,
    IMAGE_SIZE,
    JSON,
    PATH,
    READING,
    SPLIT_SEED,
    SPLITS,
    WEIGHTS,
    reading_options,
    split_choices,
)
from tfransfer.display.terminal import Terminal
from tfransfer.runs import run_folder


@click.command()
@click.argument("data")
@reading_options
@BASE
@WEIGHTS
@IMAGE_SIZE
@SPLIT_SEED
@SPLITS
@click.option("--suspects/--no-suspects", default=True, help="Judge the labels by a probe. [default: --suspects]")
@click.option("--fix", type=PATH, metavar="FILE", help="Write a cleaned splits file for `train --splits FILE`.")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    default=run_folder.DATA_ISSUES,
    help="Table of everything found. [default: data_issues.csv]",
)
@JSON
def check(data: str, fix: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Find what is wrong with DATA, which is what `train` takes: damaged files, duplicates, leaks, suspect labels.

    Nothing in DATA is changed. Exit 0 where nothing hard was found, 1 where something was, 2 for wrong usage.
    """
    terminal = Terminal(as_json)
    load_pipeline()
    from tfransfer.runs import doctor  # here, because it imports TensorFlow

    # A file that will not be replaced is named before minutes of work, not after.
    doctor.require_replaceable(out, doctor.ISSUE_COLUMNS)
    if fix is not None:
        doctor.require_replaceable(fix, doctor.SPLITS_COLUMNS)
    reading = {name: options.pop(name) for name in (*READING, "split_seed")}
    reading |= {"tfds_splits": split_choices(reading.pop("splits_"))}
    found = doctor.check(data, **options, reading=reading, progress=terminal.progress, say=terminal.say)
    show_diagnosis(terminal, found)
    found.write_csv(out)
    terminal.say(f"everything found: {out}")
    said = found.to_dict() | {"table": str(out), "fixed": None}
    if fix is not None:
        made = found.fix(fix)
        terminal.say(
            f"{fix}: {len(made.removed)} left out, {len(made.moved)} on another side; train with --splits {fix}"
        )
        said["fixed"] = {"file": str(fix), "removed": list(made.removed), "moved": list(made.moved)}
    terminal.emit(said)
    if found.hard:
        sys.exit(1)


_TITLES = {"hard": "hard: mend these before you train", "soft": "soft: worth a look"}
_SUSPECTS = 10
_LONGEST = 60


def show_diagnosis(terminal: Terminal, found: Any) -> None:
    """Everything that a check found."""
    for title, findings in (("hard", found.hard), ("soft", found.soft)):
        if findings:
            columns = ["kind", "count", "for example", "what to do"]
            terminal.table(_TITLES[title], columns, _rows(findings), len(columns))
        else:
            terminal.say(f"{title}: nothing")
    if found.not_judged:
        terminal.say(found.not_judged)
        return
    rows = [
        [s.path, s.given, s.likely, s.given_probability, s.likely_probability] for s in found.suspects[:_SUSPECTS]
    ]  # fmt: skip
    more = f", the first {_SUSPECTS}" if len(found.suspects) > _SUSPECTS else ""
    terminal.table(
        f"{len(found.suspects)} suspect labels of {len(found.ranking)}{more}",
        ["example", "labelled", "looks like", "label's probability", "the other's"],
        rows,
        3,
    )


def _rows(findings: Sequence[Any]) -> list[list[Any]]:
    rows = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        own = [finding for finding in findings if finding.kind == kind]
        rows.append([kind, len(own), _example(own[0]), own[0].advice])
    return rows


def _example(finding: Any) -> str:
    if not finding.paths:
        return str(finding.detail)
    named = " = ".join(finding.paths[:2]) if len(finding.paths) > 1 else f"{finding.paths[0]}: {finding.detail}"
    return named if len(named) <= 2 * _LONGEST else f"{named[: 2 * _LONGEST - 3]}..."
