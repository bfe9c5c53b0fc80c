"""The solver benchmark's errors, verdicts and smallest run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import solve_report

ROOT = Path(__file__).resolve().parents[2]


def test_tensor_error_is_relative_to_the_diagonal():
    reference = np.array([[[4.0, 0.0], [0.0, 1.0]]])
    ours = reference + np.array([[[0.0, 0.2], [0.2, 0.0]]])
    np.testing.assert_allclose(solve_report.tensor_error(ours, reference), 0.1)


def test_gradient_error_is_the_worst_member():
    reference = np.ones((2, 3, 3))
    ours = reference.copy()
    ours[1] *= 1.5
    np.testing.assert_allclose(solve_report.gradient_error(ours, reference), 0.5)


def test_a_missed_target_is_not_a_pass():
    seconds = {"jax_fem forward": {"total": 399.0}, "float32 0.0001 forward": {"total": 1.0}}
    record = {
        "headline": "n=64 contrast=10",
        "seconds_per_cell": {"n=64 contrast=10": seconds},
        "cases": {"n=64 contrast=10": {"n": 64, "contrast": 10.0}},
        "errors": {"n=64 contrast=10": {"float32 0.0001": {"tensor": 2e-4}}},
        "stand_in": {"ratio": 1.1},
    }
    verdicts = [target["passed"] for target in solve_report.judge(record)]
    assert verdicts == [False, False, True]


@pytest.mark.slow
def test_the_smallest_run_writes_its_record(tmp_path):
    pytest.importorskip("skfem")
    options = ["--quick", "--solvers", "scikit_fem", "--rounds", "1", "--out", tmp_path]
    command = [sys.executable, "-m", "benchmarks.bench_solve", *options]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    record = json.loads((tmp_path / "solve.json").read_text())
    assert "scikit_fem forward" in shown
    assert record["machine"]["cores"] >= 1
    assert (tmp_path / "solve.png").stat().st_size > 0
