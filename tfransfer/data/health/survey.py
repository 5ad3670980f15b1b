"""Findings from the index alone, without opening any file: cheap enough to run before each training."""

from collections import Counter
from pathlib import Path

from tfransfer.data.dataset import Dataset
from tfransfer.data.health import appearance, balance, duplicates
from tfransfer.data.health.findings import Finding, from_issues
from tfransfer.display.progress import Say


def index_findings(dataset: Dataset, splits_file: Path | None = None) -> list[Finding]:
    """Skipped files, exact duplicates, odd sizes and class sizes.

    Args:
        dataset: The dataset as it was read.
        splits_file: The splits file that was used, if any.
    """
    findings = from_issues(dataset, splits_file)
    findings += duplicates.duplicate_findings(dataset, duplicates.exact_groups(dataset.examples))
    findings += balance.balance_findings(dataset)
    findings += appearance.size_findings(dataset) if dataset.modality.has_pixels else _wordless(dataset)
    if dataset.refusal:
        findings.append(Finding("not-trainable", dataset.refusal))
    return findings


def _wordless(dataset: Dataset) -> list[Finding]:
    paths = [e.path for e in dataset.examples if not any(c.isalnum() for c in e.text or "")]
    return [Finding("near-empty", "it has no letters and no digits", (path,)) for path in paths]


def say_findings(findings: list[Finding], say: Say) -> None:
    """Print a line for each kind; skipped files were reported when they were read."""
    new = [finding for finding in findings if not finding.set_aside]
    for kind, count in Counter(finding.kind for finding in new).items():
        first = next(finding for finding in new if finding.kind == kind)
        where = f"{', '.join(first.paths[:2])}: " if first.paths else ""
        more = f" (and {count - 1} more)" if count > 1 else ""
        say(f"check: {kind}: {where}{first.detail}{more}")
