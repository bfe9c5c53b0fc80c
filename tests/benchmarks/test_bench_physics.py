"""The benchmark of the physics: its cases, errors, verdicts and smallest run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import physics_report
from benchmarks.bench_physics import Case, cases, requests

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def record():
    """A run of two cases of one physics, FEAX being 1900 times as slow."""
    ten, thousand = (Case(2, True, 64, 32, contrast=contrast) for contrast in (10.0, 1000.0))
    seconds = {
        ten.name: {"feax forward": {"total": 1.9}, "float32 0.0001 forward": {"total": 1e-3}},
        thousand.name: {"float32 0.0001 forward": {"total": 2.9e-3}},
    }
    shapes = {
        case.name: {"physics": case.physics, "n": 64, "ndim": 2, "contrast": case.contrast, "num_cells": 32}
        for case in (ten, thousand)
    }
    errors = {ten.name: {"float32 0.0001": {"tensor": 2e-4}}}
    return {
        "bases": [ten.name],
        "cases": shapes,
        "seconds_per_cell": seconds,
        "errors": errors,
        "largest_difference": 1e-12,
    }


def test_a_missed_target_is_not_a_pass(record):
    verdicts = [target["passed"] for target in physics_report.judge(record)]
    assert verdicts == [False, True, True, False]


def test_the_contrasts_are_a_series_and_the_meshes_are_not_among_them(record):
    small = Case(2, True, 16, 64)
    record["cases"][small.name] = {
        "physics": small.physics,
        "n": 16,
        "ndim": 2,
        "contrast": 10.0,
        "num_cells": 64,
    }
    series = {
        variable: [name for name in record["cases"] if physics_report.varies(record, name, variable)]
        for variable in ("contrast", "n", "num_cells")
    }
    base, thousand, _ = record["cases"]
    assert series == {"contrast": [base, thousand], "n": [base, small.name], "num_cells": []}


def test_a_refused_cell_is_counted():
    tensors = np.ones((3, 2, 2))
    tensors[1] = np.nan
    answers = {"easy": {physics_report.OURS: {"effective": tensors[:1]}}}
    answers["hard"] = {physics_report.OURS: {"effective": tensors}}
    assert physics_report.refused(answers) == {"hard": 1}


def test_errors_are_those_of_the_first_cell_against_the_direct_solve():
    reference, other = np.eye(2)[None], 2 * np.eye(2)[None]
    answers = {
        "scikit_fem forward": {"effective": reference},
        "feax forward": {"effective": reference * (1 + 1e-9)},
        "float32 0.0001 forward": {"effective": np.concatenate([reference * 1.01, other])},
    }
    errors = physics_report.errors({"case": answers})
    np.testing.assert_allclose(errors["case"]["float32 0.0001"]["tensor"], 0.01)
    np.testing.assert_allclose(physics_report.largest_difference(errors), 1e-9, rtol=1e-6)


@pytest.mark.parametrize("quick", [True, False])
def test_every_case_has_a_name_of_its_own_and_every_peer_few_requests(quick):
    chosen = cases(quick, with_growth=True)
    assert len({case.name for case in chosen}) == len(chosen)
    workers = dict.fromkeys(("feax", "scikit_fem", "float32"))
    heavy = [case for case in chosen for key, *_ in requests(case, 0, workers) if key.startswith("feax")]
    assert {case.physics for case in heavy} <= {"2D elasticity", "3D elasticity"}
    later = [key for case in chosen for key, *_ in requests(case, 5, workers)]
    assert all(key.startswith("float32") for key in later)


@pytest.mark.slow
def test_the_smallest_run_writes_its_record(tmp_path):
    pytest.importorskip("skfem")
    command = [sys.executable, "-m", "benchmarks.bench_physics", "--quick", "--peers", "scikit_fem", "--out", tmp_path]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    record = json.loads((tmp_path / "physics.json").read_text())
    assert "scikit_fem forward" in shown
    assert record["largest_difference"] < 1e-8
    for figure in ("physics.png", "physics_growth.png"):
        assert (tmp_path / figure).stat().st_size > 0
