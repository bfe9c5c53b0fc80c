"""From grey values to labels, and from labels to volume fractions."""

import jax.numpy as jnp
import numpy as np
import pytest

from numpyro_homog.images import coarsen, phases_from_labels, segment


def test_segment_counts_the_thresholds_below():
    grey = np.array([[0, 50, 99], [100, 255, 49]], np.uint8)
    np.testing.assert_array_equal(segment(grey, [50, 100]), [[0, 1, 1], [2, 2, 0]])
    np.testing.assert_array_equal(segment(grey, 50), [[0, 1, 1], [1, 1, 0]])


@pytest.mark.parametrize("thresholds", [[], [2, 1], [1, 1], [np.nan]])
def test_thresholds_must_increase(thresholds):
    with pytest.raises(ValueError, match="thresholds must be one or more finite numbers in increasing order"):
        segment(np.eye(2), thresholds)


def test_segment_refuses_nan():
    with pytest.raises(ValueError, match="1 values that are not finite"):
        segment(np.array([[1.0, np.nan]]), 0.5)


@pytest.mark.x32
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
def test_phases_are_one_hot(dtype):
    labels = np.random.default_rng(0).integers(0, 3, (4, 5, 2)).astype(dtype)
    phases = phases_from_labels(labels, 4)
    assert phases.shape == (4, 5, 2, 4)
    assert phases.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(phases.sum(-1), np.ones((4, 5, 2)))
    np.testing.assert_array_equal(phases.argmax(-1), labels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0.5, 1.0]]), "must be whole numbers; grey values become labels by segment"),
        (np.array([[0, np.nan]]), "must be whole numbers"),
        (np.array([[0, 255]]), r"must be 0, ..., 1 for 2 phases; the image has 0, 255. np.unique"),
        (np.array([[-1, 0]]), "the image has -1, 0"),
        (np.arange(20)[None], r"the image has 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\. "),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        phases_from_labels(labels, 2)


@pytest.mark.x32
def test_coarsening_keeps_the_volume_of_each_phase_in_each_block():
    phases = phases_from_labels(np.random.default_rng(0).integers(0, 3, (6, 4, 8)), 3)
    coarse = coarsen(phases, (3, 1, 4))
    assert coarse.shape == (2, 4, 2, 3)
    assert coarse.dtype == phases.dtype
    np.testing.assert_allclose(coarse[1, 2, 0], phases[3:, 2, :4].mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_array_equal(coarsen(phases, 1), phases)
    np.testing.assert_allclose(coarsen(phases, 2).sum(-1), np.ones((3, 2, 4)), rtol=1e-6)


@pytest.mark.parametrize("factor", [0, 3, (2, 3), (2,)])
def test_a_factor_must_divide_the_grid(factor):
    with pytest.raises(
        ValueError, match=r"factor must divide the grid \(4, 4\) along each axis; got .* Crop the image"
    ):
        coarsen(phases_from_labels(np.zeros((4, 4)), 2), factor)
