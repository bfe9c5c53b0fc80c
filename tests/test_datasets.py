import json

import numpy as np
import pytest

from benchmarks import make_example_data as script
from numpyro_homog.datasets import example_names, example_truth, load_example
from numpyro_homog.io import load_specimens

NAME = "laguerre_plates"


@pytest.fixture(scope="module")
def coarse():
    """Phases of the packaged cells on a coarse grid: enough for fractions, not for tensors."""
    return script.phase_at(script.draw_seeds(), 32)


def test_every_example_loads():
    assert NAME in example_names()
    for name in example_names():
        tensors, truth = load_example(name), example_truth(name)
        assert tensors.dtype == np.float64
        assert tensors.shape[0] == truth["num_specimens"]
        assert tensors.shape[1] == tensors.shape[2] == len(truth["grid"])
        np.testing.assert_array_equal(tensors, tensors.swapaxes(1, 2))
        assert np.linalg.eigvalsh(tensors).min() > 0


def test_the_example_is_what_its_description_says():
    assert load_example(NAME).shape == (1000, 2, 2)
    truth = example_truth(NAME)
    np.testing.assert_array_equal(truth["kappa"], [1, 5, 10])
    np.testing.assert_array_equal(truth["delays"], [0, 0.1, 0.05])
    assert truth["num_phases"] == 3
    assert truth["grid"] == [256, 256]
    assert set(truth) >= {"units", "seed", "made_by", "tolerance", "description", "mean_fractions"}


def test_the_file_is_one_that_users_could_write():
    for name in example_names():
        np.testing.assert_array_equal(load_specimens(script.DATA / f"{name}.csv"), load_example(name))


def test_the_parameters_are_those_of_the_script():
    stored = json.loads((script.DATA / f"{NAME}.json").read_text())
    fractions = np.array(stored["mean_fractions"])[None]
    assert stored == json.loads(json.dumps(script.truth(fractions)))


def test_a_caller_may_change_what_it_gets():
    example_truth(NAME)["kappa"][:] = 0
    load_example(NAME)[:] = 0
    assert example_truth(NAME)["kappa"].min() > 0
    assert load_example(NAME)[:, 0, 0].min() > 0


def test_an_unknown_name_is_answered_with_the_known_ones():
    for function in (load_example, example_truth):
        with pytest.raises(ValueError, match=f"no example 'plates'; choose one of '{NAME}'"):
            function("plates")


def test_the_volume_fractions_are_those_of_the_seeds(coarse):
    fractions = script.fractions_of(coarse)
    np.testing.assert_allclose(fractions.sum(axis=1), 1, rtol=1e-12)
    # Voxel counting at n = 32 errs by about 1e-2 / sqrt(1000) in the mean over the cells.
    np.testing.assert_allclose(fractions.mean(axis=0), example_truth(NAME)["mean_fractions"], atol=1e-3)
    # A later start makes a smaller phase.
    assert np.all(np.diff(fractions.mean(axis=0)[np.argsort(script.DELAYS)]) < 0)


def test_each_specimen_lies_between_the_bounds_of_its_own_cell(coarse):
    """The rows are the cells of the script, in its order: harmonic mean <= K <= arithmetic mean of this very cell."""
    fractions, kappa = script.fractions_of(coarse), np.array(script.KAPPA)
    eigenvalues = np.linalg.eigvalsh(load_example(NAME))
    # 5 %: the fractions are counted on 32 x 32 voxels only.
    assert np.all(eigenvalues[:, -1] <= 1.05 * fractions @ kappa)
    assert np.all(eigenvalues[:, 0] >= 0.95 / (fractions @ (1 / kappa)))
    # The bounds of other cells do not hold, so this could fail.
    assert not np.all(eigenvalues[:, -1] <= 1.05 * np.roll(fractions, 1, axis=0) @ kappa)


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_script_makes_the_packaged_tensors():
    tensors, _ = script.simulate(script.draw_seeds()[:3], script.RESOLUTION)
    # Both are certified to 1e-8 of the diagonal entries.
    np.testing.assert_allclose(tensors, load_example(NAME)[:3], atol=1e-7)
