"""Bounds of single cells: exact cases, identities, order, accuracy of their mean."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import (
    FIELDS,
    LENGTHS,
    SHAPE,
    as_tensors,
    close,
    dual_bound,
    least_eigenvalues,
    make_cell,
    polycrystal,
    random_spd,
    smooth_field,
    voronoi_field,
)

import numpyro_homog as nh

each_kind = pytest.mark.parametrize("kind", FIELDS)
TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


def refined(field, factor):
    """The same image of scalars on a grid finer by an integer."""
    return jnp.repeat(jnp.repeat(field, factor, -1), factor, -2)


def error(tensors, reference):
    """Relative Frobenius norm of the difference, averaged over the cells."""
    norm = np.linalg.norm(np.asarray(tensors) - reference, axis=(-2, -1)) / np.linalg.norm(reference, axis=(-2, -1))
    return norm.mean()


def limit_of_upper_bounds(field, factors):
    """Aitken's extrapolation of three upper bounds on grids refined in equal steps: nothing dual is in it."""
    tensors = []
    for factor in factors:
        cell = make_cell((factor * field.shape[-2], factor * field.shape[-1]), tolerance=1e-10)
        tensors.append(np.asarray(nh.effective_tensor(cell, refined(field, factor))))
    coarse, middle, fine = tensors
    return fine - (fine - middle) ** 2 / ((fine - middle) - (middle - coarse))


# --- exact cases ---


@pytest.mark.slow
def test_four_phase_checkerboards_are_exact(x64):
    s = jnp.asarray(10 ** np.random.default_rng(0).uniform(0, 2, (5, 4)))
    quadrants = jnp.stack([jnp.stack([s[:, 0], s[:, 3]], -1), jnp.stack([s[:, 1], s[:, 2]], -1)], -2)
    field, exact = refined(quadrants, 8), np.asarray(nh.effective_tensor(nh.CheckerboardCell(), s))
    _, upper, mean = nh.effective_bounds(make_cell((16, 16), tolerance=1e-12 if x64 else 1e-6), field)
    scale = np.trace(exact, axis1=1, axis2=2)[:, None, None]
    np.testing.assert_allclose(mean / scale, exact / scale, rtol=0, atol=1e-10 if x64 else 2e-5)
    assert np.max(np.abs(upper - exact) / scale) > 1e-2  # the voxel elements alone are not


@pytest.mark.x32
@each_kind
def test_a_homogeneous_cell_is_its_own_bounds(kind, cell, eps):
    tensor = jnp.asarray([[3.0, 0.0], [0.0, 3.0]] if kind == "isotropic" else [[2.0, -0.7], [-0.7, 1.0]])
    field = jnp.full((3, *SHAPE), 3.0) if kind == "isotropic" else jnp.broadcast_to(tensor, (3, *SHAPE, 2, 2))
    for bound in nh.effective_bounds(cell, field):
        close(bound, np.broadcast_to(tensor, (3, 2, 2)), 50 * eps)


@pytest.mark.parametrize("axis", [0, 1])
def test_laminates_of_anisotropic_layers_close_the_bracket(axis, cell, rtol):
    layers = jnp.expand_dims(random_spd(1, (3, SHAPE[axis])), 2 - axis)
    lower, upper, mean = nh.effective_bounds(cell, jnp.broadcast_to(layers, (3, *SHAPE, 2, 2)))
    close(lower, upper, rtol)
    close(mean, upper, rtol)


@pytest.mark.x64_only
def test_a_polycrystal_of_one_crystal_has_its_determinant(cell):
    # det K = a b in the continuum, for every image; the mean keeps it on every grid.
    field = polycrystal(0, SHAPE, (1.0, 5.0), (3,))
    lower, upper, mean = (np.linalg.det(bound) for bound in nh.effective_bounds(cell, field))
    np.testing.assert_allclose(mean, 5.0, rtol=1e-12)
    assert np.all(upper > 5.01)
    assert np.all(lower < 4.99)


# --- identities ---


@each_kind
def test_the_bounds_are_what_they_are_said_to_be(kind, cell, rtol):
    field = FIELDS[kind](2)
    lower, upper, mean = nh.effective_bounds(cell, field)
    close(upper, nh.effective_tensor(cell, field), rtol)
    if kind == "isotropic":
        close(lower, dual_bound(cell, field), rtol)
    else:
        turned = jnp.asarray(TURN @ np.linalg.inv(field) @ TURN.T)
        close(lower, TURN.T @ np.linalg.inv(nh.effective_tensor(cell, turned)) @ TURN, rtol)
    # The geometric mean is the positive solution of X lower^-1 X = upper.
    close(mean @ np.linalg.inv(lower) @ mean, upper, rtol)


@pytest.mark.x32
@each_kind
def test_the_mean_lies_between_the_bounds(kind, cell):
    bounds = nh.effective_bounds(cell, FIELDS[kind](0))
    lower, upper, mean = (np.asarray(bound, float) for bound in bounds)
    assert lower.shape == upper.shape == mean.shape == (3, 2, 2)
    assert np.all(least_eigenvalues(lower) > 0)
    assert np.all(least_eigenvalues(mean - lower) > 1e-3)
    assert np.all(least_eigenvalues(upper - mean) > 1e-3)
    for bound in (lower, upper, mean):
        np.testing.assert_array_equal(bound, np.swapaxes(bound, -1, -2))


@pytest.mark.slow
@pytest.mark.x64_only
@each_kind
def test_refinement_narrows_the_bracket_from_both_sides(kind):
    # Nested spaces: in the Loewner order every finer bracket lies within the coarser ones.
    field, brackets = FIELDS[kind](3, (3, 4)), []
    for factor in (1, 2, 4, 8):
        fine = jnp.repeat(jnp.repeat(field, factor, 1), factor, 2)
        brackets.append(nh.effective_bounds(make_cell(fine.shape[1:3], LENGTHS, tolerance=1e-12), fine))
    for coarse, fine in itertools.pairwise(brackets):
        assert np.all(least_eigenvalues(fine.lower - coarse.lower) > 1e-5)
        assert np.all(least_eigenvalues(coarse.upper - fine.upper) > 1e-5)
    finest = brackets[-1].mean
    distance = [np.linalg.norm(bracket.mean - finest, axis=(1, 2)).mean() for bracket in brackets[:-1]]
    assert distance[0] > 3 * distance[1] > 9 * distance[2]


@pytest.mark.x64_only
@each_kind
def test_a_loose_solver_widens_the_bracket_and_does_not_break_it(kind, cell):
    fields = FIELDS[kind](0)
    tight, wide = (
        nh.effective_bounds(cell, fields),
        nh.effective_bounds(make_cell(SHAPE, LENGTHS, tolerance=0.05), fields),
    )
    below, above = least_eigenvalues(tight.lower - wide.lower), least_eigenvalues(wide.upper - tight.upper)
    assert np.all(below > -1e-12)
    assert np.all(above > -1e-12)
    assert np.max(below) > 1e-6  # it was loose indeed
    assert np.max(above) > 1e-6


@each_kind
def test_duality_holds_on_every_grid(kind, cell, rtol):
    # Mendelson: K[k / det k] = K[k] / det K[k].
    field = FIELDS[kind](4)
    dual = 1 / field if kind == "isotropic" else field / jnp.linalg.det(field)[..., None, None]
    bounds, of_dual = nh.effective_bounds(cell, field), nh.effective_bounds(cell, dual)
    for one, other in (("mean", "mean"), ("lower", "upper"), ("upper", "lower")):
        expected = np.asarray(getattr(bounds, one))
        close(getattr(of_dual, other), expected / np.linalg.det(expected)[:, None, None], rtol)


@pytest.mark.x32
@each_kind
def test_the_unit_of_the_field_does_not_matter(kind, cell, rtol):
    # In 32 bits the determinant of tensors of 1e-25, or of their inverses, under- or overflows.
    field = FIELDS[kind](0)
    bounds = nh.effective_bounds(cell, field)
    for scale in (1e-25, 400.0, 1e25):
        for one, scaled in zip(bounds, nh.effective_bounds(cell, scale * field), strict=True):
            close(scaled / scale, one, rtol)


@pytest.mark.x64_only
@each_kind
def test_the_bounds_turn_and_shift_with_the_cell(kind, cell, tolerance):
    field = FIELDS[kind](5)
    turned = jnp.rot90(field, 1, (1, 2))
    turned = turned if kind == "isotropic" else jnp.asarray(TURN @ np.asarray(turned) @ TURN.T)
    before = nh.effective_bounds(cell, field)
    for bound, after in zip(before, nh.effective_bounds(cell, jnp.roll(field, (2, 3), (1, 2))), strict=True):
        close(after, bound, 1e-10)
    lying = make_cell(SHAPE[::-1], LENGTHS[::-1], tolerance=tolerance)
    for bound, after in zip(before, nh.effective_bounds(lying, turned), strict=True):
        close(after, TURN @ np.asarray(bound) @ TURN.T, 1e-10)


@pytest.mark.x32
def test_scalars_and_multiples_of_the_identity_agree(cell, rtol):
    field = smooth_field(0, SHAPE, (3,))
    for one, other in zip(nh.effective_bounds(cell, field), nh.effective_bounds(cell, as_tensors(field)), strict=True):
        close(other, one, rtol)


# --- accuracy ---


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_mean_is_twenty_times_closer_on_block_maps():
    # 8 x 8 independent blocks over one decade, on 64 x 64 voxels. Plain elements are some .3 % off; the limit of upper
    # bounds is good to some 2e-5.
    blocks = smooth_field(1, (8, 8), (6,))
    reference = limit_of_upper_bounds(blocks, (8, 16, 32))
    lower, upper, mean = nh.effective_bounds(make_cell((64, 64), tolerance=1e-10), refined(blocks, 8))
    assert error(upper, reference) > 2e-3
    assert error(mean, reference) < error(upper, reference) / 20
    assert np.all(least_eigenvalues(reference - lower) > 0)
    assert np.all(least_eigenvalues(upper - reference) > 0)


@pytest.mark.slow
@pytest.mark.x64_only
def test_the_mean_is_eight_times_closer_on_images_of_voronoi_cells():
    # Each voxel of the image is one element; the truth is that of the image with its stairs.
    image = voronoi_field(1, (32, 32), (1.0, 5.0, 10.0), (6,))
    reference = limit_of_upper_bounds(image, (4, 8, 16))
    lower, upper, mean = nh.effective_bounds(make_cell((32, 32), tolerance=1e-10), image)
    assert error(mean, reference) < error(upper, reference) / 8
    assert np.all(least_eigenvalues(reference - lower) > 0)
    assert np.all(least_eigenvalues(upper - reference) > 0)
