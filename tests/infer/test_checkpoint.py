"""Checkpoints: what they hold, what they refuse, and runs that are killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from numpyro_homog._store import digest
from numpyro_homog.optimise import Checkpoint

TESTS = Path(__file__).parents[1]


def test_state_comes_back(tmp_path):
    path = tmp_path / "run.npz"
    Checkpoint(path, "abc").put(first={"x": np.arange(3.0)}, second={"status": np.asarray("running")})
    again = Checkpoint(path, "abc")
    np.testing.assert_array_equal(again.get("first")["x"], [0, 1, 2])
    assert str(again.get("second")["status"]) == "running"
    assert again.get("third") is None
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_another_run_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    Checkpoint(path, "abc").put(first={"x": np.arange(3.0)})
    with pytest.raises(ValueError, match="another run"):
        Checkpoint(path, "abd")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a checkpoint"):
        Checkpoint(path, "abc")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Checkpoint(tmp_path / "nowhere" / "run.npz", "abc")


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = Checkpoint(None, "abc")
    store.put(first={"x": np.arange(3.0)})
    assert store.get("first") is not None
    assert not list(tmp_path.iterdir())


def test_digests_tell_arrays_apart():
    a = np.arange(4.0)
    assert digest(a, "x") == digest(a.copy(), "x")
    assert len({digest(b, "x") for b in (a, a.reshape(2, 2), a.astype(np.float32), a + 1)}) == 4


SCRIPT = textwrap.dedent(
    """
    import sys, time
    import jax, numpy as np, optax
    from estimator_models import LAMINATE_TRUTH, laminates, measured
    from numpyro_homog.divergences import SlicedWasserstein
    from numpyro_homog.infer import LevenbergMarquardt, MinimumDistance
    from numpyro_homog.optimise import Progress

    path, out, pause, route = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    def slow(self, description, loss, num_specimens):
        print("step", flush=True)
        time.sleep(pause)
    Progress.report = slow
    data = measured(laminates, LAMINATE_TRUTH, 150)
    options = dict(chunk_size=100)
    if route == "optax":
        options |= dict(optimizer=optax.adam(0.05), num_steps=20)
    else:
        options |= dict(optimizer=LevenbergMarquardt(num_screening=100))
    estimator = MinimumDistance(laminates, data, SlicedWasserstein(), **options)
    fit = estimator.run(jax.random.key(1), 400, num_starts=2, progress=False, checkpoint=path)
    np.savez(out, unconstrained=fit.unconstrained, losses=fit.losses, covariance=fit.covariance,
             solves=fit.stats["solves"], loss=fit.loss)
    """
)


def launch(folder, name, pause, route):
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, str(script), str(folder / "run.npz"), str(folder / name), str(pause), route]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["least squares", "optax"])
def test_a_killed_run_resumes_to_bitwise_the_same_result(tmp_path, route):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    with launch(whole, "out.npz", 0, route) as process:
        process.stdout.read()
    assert process.returncode == 0

    for num_lines in (3, 9):  # killed twice, within a step each time
        with launch(killed, "out.npz", 0.2, route) as process:
            for _ in range(num_lines):
                assert process.stdout.readline() == "step\n"
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (killed / "out.npz").exists()
    with launch(killed, "out.npz", 0, route) as process:
        steps = process.stdout.read().count("step")
    assert process.returncode == 0
    with np.load(whole / "out.npz") as first, np.load(killed / "out.npz") as second:
        assert steps < np.isfinite(first["losses"]).sum()
        for name in first.files:
            assert first[name].tobytes() == second[name].tobytes(), name
