"""What hangs on rounding, under other instruction sets, thread counts and seeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MACHINES = {
    "SSE 4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "one thread": {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "two threads": {"TF_NUM_INTRAOP_THREADS": "2", "TF_NUM_INTEROP_THREADS": "2", "OMP_NUM_THREADS": "2"},
}


def run_tests(environment, *words):
    command = [sys.executable, "-m", "pytest", "-n", "2", *words]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:]


@pytest.mark.long
@pytest.mark.parametrize("machine", MACHINES)
def test_the_default_run_is_green_on_other_machines(machine):
    run_tests(MACHINES[machine])


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("machine", MACHINES)
def test_what_looks_at_an_accuracy_is_green_with_other_seeds(machine, seed):
    run_tests(MACHINES[machine] | {"TFRANSFER_TEST_SEED": str(seed)}, "-m", "learns and not long")
