"""`tfransfer check`: find problems in data."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tfransfer.cli.loading import load_pipeline, require_base_given
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
from tfransfer.recipe import Recipe
from tfransfer.runs import run_folder


@click.command()
@click.argument("data")
@reading_options
@BASE
@WEIGHTS
@IMAGE_SIZE
@SPLIT_SEED
@SPLITS
@click.option(
    "--suspects/--no-suspects",
    default=True,
    help="List labels that are probably wrong: a linear classifier, trained on the other examples, contradicts them. "
    "[default: --suspects]",
)
@click.option(
    "--fix",
    type=PATH,
    metavar="FILE",
    help="Write a splits file for `train --splits FILE`: contradictory labels left out, all copies in one split.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    default=run_folder.DATA_ISSUES,
    help="Write all findings to this CSV table. [default: data_issues.csv]",
)
@JSON
def check(data: str, fix: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Find problems in DATA: damaged files, copies, wrong labels.

    DATA is what `train` takes; nothing in it is changed. Copies are found within a class, in two classes and in two
    splits. Hard findings should be fixed before training, soft ones are worth a look. Exit code 1: there
    are hard findings.
    """
    terminal = Terminal(as_json)
    require_base_given(Recipe(), options)
    load_pipeline()
    from tfransfer.runs import doctor  # here, because it imports TensorFlow

    # Refuse an output file that may not be replaced before minutes of work, not after.
    doctor.require_replaceable(out, doctor.ISSUE_COLUMNS)
    if fix is not None:
        doctor.require_replaceable(fix, doctor.SPLITS_COLUMNS)
    reading = {name: options.pop(name) for name in (*READING, "split_seed")}
    reading |= {"tfds_splits": split_choices(reading.pop("splits_"))}
    diagnosis = doctor.check(data, **options, reading=reading, progress=terminal.progress, say=terminal.say)
    show_diagnosis(terminal, diagnosis)
    diagnosis.write_csv(out)
    terminal.say(f"all findings: {out}")
    result = diagnosis.to_dict() | {"table": str(out), "fixed": None}
    if fix is not None:
        fixed = diagnosis.fix(fix)
        terminal.say(
            f"{fix}: {len(fixed.removed)} left out, {len(fixed.moved)} moved to another split; use --splits {fix}"
        )
        result["fixed"] = {"file": str(fix), "removed": list(fixed.removed), "moved": list(fixed.moved)}
    terminal.emit(result)
    if diagnosis.hard:
        sys.exit(1)


_TITLES = {"hard": "hard: fix these before training", "soft": "soft: worth a look"}
_SUSPECTS = 10
_LONGEST = 60


def show_diagnosis(terminal: Terminal, diagnosis: Any) -> None:
    """Print all findings, then the first suspect labels."""
    for title, findings in (("hard", diagnosis.hard), ("soft", diagnosis.soft)):
        if findings:
            columns = ["kind", "count", "for example", "what to do"]
            terminal.table(_TITLES[title], columns, _rows(findings), len(columns))
        else:
            terminal.say(f"{title}: nothing")
    if diagnosis.not_judged:
        terminal.say(diagnosis.not_judged)
        return
    rows = [
        [s.path, s.given, s.likely, s.given_probability, s.likely_probability] for s in diagnosis.suspects[:_SUSPECTS]
    ]  # fmt: skip
    more = f", the first {_SUSPECTS}" if len(diagnosis.suspects) > _SUSPECTS else ""
    terminal.table(
        f"{len(diagnosis.suspects)} of {len(diagnosis.ranking)} labels are suspect{more}",
        ["example", "labelled", "looks like", "probability of label", "of the other"],
        rows,
        3,
    )


def _rows(findings: Sequence[Any]) -> list[list[Any]]:
    rows = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        same = [finding for finding in findings if finding.kind == kind]
        rows.append([kind, len(same), _example(same[0]), same[0].advice])
    return rows


def _example(finding: Any) -> str:
    if not finding.paths:
        return str(finding.detail)
    text = " = ".join(finding.paths[:2]) if len(finding.paths) > 1 else f"{finding.paths[0]}: {finding.detail}"
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST - 3]}..."
