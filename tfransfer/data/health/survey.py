"""What an index says of the data without a second look at any file: cheap enough to come before each training."""

from collections import Counter
from pathlib import Path

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import appearance, balance, duplicates
from tfransfer.data.health.findings import Finding, from_issues
from tfransfer.display.progress import Say


def index_findings(dataset: Dataset, splits_file: Path | None = None) -> list[Finding]:
    """Everything that was set aside, exact duplicates, sizes, classes.

    Args:
        dataset: As it was read.
        splits_file: That was followed, if any.
    """
    found = from_issues(dataset, splits_file)
    found += duplicates.duplicate_findings(dataset, duplicates.exact_groups(dataset.examples))
    found += balance.balance_findings(dataset)
    found += appearance.size_findings(dataset) if dataset.modality.has_pixels else _wordless(dataset)
    if dataset.refusal:
        found.append(Finding("not-trainable", dataset.refusal))
    return found


def _wordless(dataset: Dataset) -> list[Finding]:
    bare = [e.path for e in dataset.examples if not any(c.isalnum() for c in e.text or "")]
    return [Finding("near-empty", "there is no letter and no digit in it", (path,)) for path in bare]


def say_findings(findings: list[Finding], say: Say) -> None:
    """A line for each kind; what was set aside has been said when it was read."""
    new = [finding for finding in findings if not finding.set_aside]
    for kind, count in Counter(finding.kind for finding in new).items():
        first = next(finding for finding in new if finding.kind == kind)
        where = f"{', '.join(first.paths[:2])}: " if first.paths else ""
        more = f" (and {count - 1} more)" if count > 1 else ""
        say(f"check: {kind}: {where}{first.detail}{more}")
