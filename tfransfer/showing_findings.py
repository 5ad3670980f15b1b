"""How a check of data looks on the terminal: a table of what is hard, one of what is soft, the most suspect labels."""

from collections.abc import Sequence
from typing import Any

from tfransfer.terminal import Terminal

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
