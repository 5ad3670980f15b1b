"""Trains the same phase on several sets of devices, in processes of their own, and compares the results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HARNESS = Path(__file__).parent / "workers.py"
ONE = {"name": "one", "devices": "cpu"}
TWO = {"name": "two", "devices": "cpu:0,1", "logical": 2}
PLAIN = {"settings": {"features.cache": False}}


def trained(data, folder, *jobs):
    """Weights and histories of jobs, by name."""
    ran = subprocess.run(
        [sys.executable, HARNESS, data, folder, json.dumps(jobs)],
        capture_output=True, text=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = {}
    for job in jobs:
        with np.load(folder / f"{job['name']}.npz") as archive:
            weights = [archive[str(n)] for n in range(len(archive.files) - 2)]
            found[job["name"]] = (weights, json.loads(str(archive["history"])), int(archive["replicas"]))
    return found


def check_same(found, name, reference="one", few=0.0):
    """The same weights to 1e-4, but for a share `few` of all of them to 1e-3, and the same metrics in each epoch."""
    off = size = 0
    for a, b in zip(found[name][0], found[reference][0], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 if few else 1e-4, rtol=0)
        off, size = off + (np.abs(a - b) > 1e-4).sum(), size + a.size
    assert off <= few * size
    for row, twin in zip(found[name][1], found[reference][1], strict=True):
        for key in ("loss", "top1", "val_loss", "val_top1"):
            # Weights that differ a little may decide a close example differently.
            close = 1e-3 if not few else 0.05 if "top1" in key else 5e-3
            assert row[key] == pytest.approx(twin[key], abs=close), (name, key)
