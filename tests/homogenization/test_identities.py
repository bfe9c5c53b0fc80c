"""Identities of the effective conductivity that hold for every cell: no stored numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import (
    LENGTHS,
    SHAPE,
    as_tensors,
    close,
    dual_bound,
    iid_field,
    least_eigenvalues,
    make_cell,
    polycrystal,
    random_spd,
    smooth_field,
    strains,
)

import numpyro_homog as nh

CONDUCTIVITY = {"isotropic": lambda seed, shape: smooth_field(seed, shape), "tensors": random_spd}
each_kind = pytest.mark.parametrize("kind", CONDUCTIVITY)


@pytest.mark.x32
def test_a_homogeneous_cell_has_its_own_conductivity(eps):
    cell, k = make_cell(SHAPE, LENGTHS), jnp.asarray([1e-3, 1.0, 7.0])
    tensors = nh.effective_tensor(cell, jnp.broadcast_to(k[:, None, None], (3, *SHAPE)))
    close(tensors / k[:, None, None], np.broadcast_to(np.eye(2), (3, 2, 2)), 50 * eps)


def test_a_homogeneous_crystal_has_its_own_conductivity(eps):
    tensor = jnp.asarray([[2.0, -0.7], [-0.7, 1.0]])
    field = jnp.broadcast_to(tensor, (*SHAPE, 2, 2))
    close(nh.effective_tensor(make_cell(SHAPE, LENGTHS), field), tensor, 50 * eps)


@pytest.mark.x32
@pytest.mark.parametrize("num_layers", [1, 2, 8])
@pytest.mark.parametrize("axis", [0, 1])
def test_laminates_are_exact_at_any_resolution(num_layers, axis, tolerance, rtol):
    shape = (num_layers, 4) if axis == 0 else (4, num_layers)
    k = smooth_field(num_layers, (num_layers,))
    field = jnp.broadcast_to(jnp.expand_dims(k, 1 - axis), shape)
    expected = np.zeros((2, 2))
    expected[axis, axis], expected[1 - axis, 1 - axis] = 1 / np.mean(1 / np.asarray(k)), np.mean(np.asarray(k))
    close(nh.effective_tensor(make_cell(shape, (2.0, 0.7), tolerance=tolerance), field), expected, rtol)


@pytest.mark.parametrize("axis", [0, 1])
def test_laminates_of_anisotropic_layers_are_exact(axis, tolerance, rtol):
    layers = np.asarray(random_spd(1, (5,)))
    shape = (5, 3) if axis == 0 else (3, 5)
    field = jnp.broadcast_to(jnp.expand_dims(jnp.asarray(layers), 1 - axis), (*shape, 2, 2))
    n, t = axis, 1 - axis
    normal, cross, along = layers[:, n, n], layers[:, n, t], layers[:, t, t]
    expected = np.zeros((2, 2))
    expected[n, n] = 1 / np.mean(1 / normal)
    expected[n, t] = expected[t, n] = expected[n, n] * np.mean(cross / normal)
    expected[t, t] = np.mean(along - cross**2 / normal) + expected[n, n] * np.mean(cross / normal) ** 2
    close(nh.effective_tensor(make_cell(shape, tolerance=tolerance), field), expected, rtol)


@pytest.mark.parametrize("shape", [(6,), (6, 1, 2), (2, 6, 1), (1, 2, 6)])
def test_laminates_are_exact_in_one_and_three_dimensions(shape, tolerance, rtol):
    d, axis = len(shape), shape.index(6)
    k = np.asarray(smooth_field(axis, (6,)))
    field = jnp.broadcast_to(jnp.asarray(k).reshape([-1 if i == axis else 1 for i in range(d)]), shape)
    expected = np.mean(k) * np.eye(d)
    expected[axis, axis] = 1 / np.mean(1 / k)
    close(nh.effective_tensor(make_cell(shape, tolerance=tolerance), field), expected, rtol)


@each_kind
def test_scaling_the_field_scales_the_tensor(kind, tolerance, rtol):
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), CONDUCTIVITY[kind](0, SHAPE)
    one = nh.effective_tensor(cell, field)
    for scale in (1e-9, 0.3, 400.0, 1e9):
        close(nh.effective_tensor(cell, scale * field) / scale, one, rtol)


@each_kind
def test_a_periodic_shift_changes_nothing(kind, tolerance, rtol):
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), CONDUCTIVITY[kind](0, SHAPE)
    shifted = jnp.stack([jnp.roll(field, steps, (0, 1)) for steps in ((0, 0), (1, 0), (0, 5), (3, 2))])
    tensors = nh.effective_tensor(cell, shifted)
    assert abs(tensors[0, 0, 1]) > 1e-3  # not a symmetric cell by accident
    close(tensors, np.broadcast_to(tensors[0], tensors.shape), rtol)


# Orthogonal maps of the square: how they move voxels (from f[i, j] with axis 0 the first coordinate), and the matrix.
MAPS = {
    "quarter turn": (lambda f: jnp.rot90(f, 1, (0, 1)), [[0, -1], [1, 0]]),
    "half turn": (lambda f: jnp.rot90(f, 2, (0, 1)), [[-1, 0], [0, -1]]),
    "first axis reflected": (lambda f: jnp.flip(f, 0), [[-1, 0], [0, 1]]),
    "second axis reflected": (lambda f: jnp.flip(f, 1), [[1, 0], [0, -1]]),
    "axes exchanged": (lambda f: jnp.swapaxes(f, 0, 1), [[0, 1], [1, 0]]),
}


@each_kind
@pytest.mark.parametrize("name", MAPS)
def test_the_tensor_turns_with_the_cell(name, kind, tolerance, rtol):
    field = CONDUCTIVITY[kind](3, SHAPE)
    move, matrix = MAPS[name]
    matrix = jnp.asarray(matrix, field.dtype)
    moved = move(field) if kind == "isotropic" else matrix @ move(field) @ matrix.T
    new_lengths = tuple(np.abs(np.asarray(matrix) @ np.asarray(LENGTHS)).tolist())
    before = nh.effective_tensor(make_cell(SHAPE, LENGTHS, tolerance=tolerance), field)
    after = nh.effective_tensor(make_cell(moved.shape[:2], new_lengths, tolerance=tolerance), moved)
    close(after, matrix @ before @ matrix.T, rtol)


@pytest.mark.x32
def test_scalars_and_multiples_of_the_identity_agree(tolerance, rtol):
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), smooth_field(0, SHAPE)
    close(nh.effective_tensor(cell, as_tensors(field)), nh.effective_tensor(cell, field), rtol)


def test_edge_lengths_act_as_a_change_of_coordinates(tolerance, rtol):
    # With y = x / L the coefficient is K_ij / (L_i L_j), on the unit cell.
    field = random_spd(5, SHAPE)
    stretch = jnp.outer(jnp.asarray(LENGTHS), jnp.asarray(LENGTHS))
    stretched = nh.effective_tensor(make_cell(SHAPE, LENGTHS, tolerance=tolerance), field)
    unit = nh.effective_tensor(make_cell(SHAPE, tolerance=tolerance), field / stretch[None, None])
    close(unit * stretch, stretched, rtol)


@each_kind
def test_reuss_below_periodic_below_voigt(kind, tolerance):
    cell = make_cell(SHAPE, LENGTHS, tolerance=tolerance)
    field = jnp.stack([CONDUCTIVITY[kind](seed, SHAPE) for seed in range(10)])
    tensors = np.asarray(nh.effective_tensor(cell, field))
    voxels = np.asarray(field if kind == "tensors" else as_tensors(field))
    voigt = voxels.mean((1, 2))
    reuss = np.linalg.inv(np.linalg.inv(voxels).mean((1, 2)))
    assert np.all(least_eigenvalues(voigt - tensors) > 0)
    assert np.all(least_eigenvalues(tensors - reuss) > 0)
    np.testing.assert_array_equal(tensors, np.swapaxes(tensors, -1, -2))


@each_kind
def test_a_finer_mesh_only_lowers_the_tensor(kind, tolerance):
    # The same cell on nested finite-element spaces: energies are minima, K(2n) <= K(n).
    field = CONDUCTIVITY[kind](0, (3, 4))
    fine = jnp.repeat(jnp.repeat(field, 2, 0), 2, 1)
    coarse_tensor = nh.effective_tensor(make_cell((3, 4), LENGTHS, tolerance=tolerance), field)
    fine_tensor = nh.effective_tensor(make_cell(SHAPE, LENGTHS, tolerance=tolerance), fine)
    assert np.all(least_eigenvalues(coarse_tensor - fine_tensor) > 0)


@each_kind
def test_the_dual_problem_bounds_from_below(kind, tolerance):
    # Keller-Dykhne-Mendelson: equality in the continuum; on a grid both sides are minima over too few functions.
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), CONDUCTIVITY["isotropic"](2, SHAPE)
    if kind == "tensors":
        field = random_spd(2, SHAPE)
        turn = jnp.asarray([[0.0, -1.0], [1.0, 0.0]])
        lower = jnp.linalg.inv(turn.T @ nh.effective_tensor(cell, turn @ jnp.linalg.inv(field) @ turn.T) @ turn)
    else:
        lower = dual_bound(cell, field)
    upper = nh.effective_tensor(cell, field)
    gap = least_eigenvalues(upper - lower)
    assert 0 < gap < 0.5 * np.trace(upper)


@each_kind
def test_the_gradient_is_the_product_of_strains(kind, tolerance, rtol):
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), CONDUCTIVITY[kind](4, SHAPE)
    total = strains(nh.solve_cell(cell, field).corrector, cell.grid.spacing)
    share = 1 / cell.grid.num_voxels  # volume of a voxel relative to the cell
    if kind == "isotropic":
        expected = share * np.einsum("mxyqi,nxyqi->mnxy", total, total) / 4
    else:
        expected = share * np.einsum("mxyqi,nxyqj->mnxyij", total, total) / 4
        expected = (expected + np.swapaxes(expected, -1, -2)) / 2
    # The three distinct entries, with weights that tell them apart, in one reverse sweep.
    weights = jnp.asarray([[1.0, 10.0], [0.0, 100.0]])
    gradient = jax.grad(lambda k: jnp.sum(weights * nh.effective_tensor(cell, k)))(field)
    close(gradient, np.einsum("mn,mn...->...", np.asarray(weights), expected), rtol)


@each_kind
def test_the_average_flux_is_the_tensor(kind, x64, tolerance):
    # The energy satisfies Euler's identity by itself; the flux average does so only if the cell problem is solved.
    cell, field = make_cell(SHAPE, LENGTHS, tolerance=tolerance), CONDUCTIVITY[kind](4, SHAPE)
    solution = nh.solve_cell(cell, field)
    total = strains(solution.corrector, cell.grid.spacing)
    voxels = np.asarray(field if kind == "tensors" else as_tensors(field))
    flux = np.einsum("xyij,mxyqj->im", voxels, total) / (4 * cell.grid.num_voxels)
    # First order in the error of the corrector: the square root of the tolerance.
    close(flux, solution.effective, 10 * tolerance**0.5)
    sensitivity = jax.jacfwd(lambda scale: nh.effective_tensor(cell, scale * field))(1.0)
    close(sensitivity, solution.effective, 1e-9 if x64 else 1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_corrector_of_a_laminate(axis, tolerance):
    # Slope K / k - 1 in each layer, value [i] at the first corner of voxel i, in the unit of `lengths`.
    k = np.asarray(smooth_field(8, (6,)))
    shape, lengths = ((6, 3), (2.0, 5.0)) if axis == 0 else ((3, 6), (5.0, 2.0))
    field = jnp.broadcast_to(jnp.expand_dims(jnp.asarray(k), 1 - axis), shape)
    solution = nh.solve_cell(make_cell(shape, lengths, tolerance=tolerance), field)
    slope = 1 / np.mean(1 / k) / k - 1
    expected = np.concatenate([[0.0], np.cumsum(slope)[:-1]]) * 2.0 / 6
    expected = np.broadcast_to(np.expand_dims(expected - expected.mean(), 1 - axis), shape)
    close(solution.corrector[axis], expected, 10 * tolerance**0.5)
    assert np.max(np.abs(solution.corrector[1 - axis])) < 10 * tolerance**0.5


@each_kind
def test_correctors_have_zero_mean(kind, eps):
    field = CONDUCTIVITY[kind](6, (7, 6))
    corrector = nh.solve_cell(make_cell((7, 6)), field).corrector
    assert np.max(np.abs(corrector)) > 1e-3
    assert np.max(np.abs(np.mean(np.asarray(corrector, float), axis=(1, 2)))) < 20 * eps


def test_two_fair_colours_are_dual_in_pairs(tolerance):
    # Exchanging two colours inverts the cell: K[k] and (k1 k2) K[exchanged]^-1, turned, bound the same tensor.
    cell, field = make_cell((8, 8), tolerance=tolerance), iid_field(0, (8, 8), (1.0, 4.0))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    exchanged = np.asarray(nh.effective_tensor(cell, 4.0 / field))
    lower = 4.0 * turn @ np.linalg.inv(exchanged) @ turn.T
    np.testing.assert_allclose(lower, dual_bound(cell, field), rtol=1e-6)
    assert least_eigenvalues(nh.effective_tensor(cell, field) - lower) > 0


def test_the_determinant_of_a_polycrystal_is_bounded_from_below():
    # det K = a b in the continuum for every sample; voxel elements are above.
    cell = make_cell((16, 16))
    determinants = np.linalg.det(np.asarray(nh.effective_tensor(cell, polycrystal(0, (16, 16), (1.0, 5.0), (4,)))))
    assert np.all(determinants > 5.0)
    assert np.all(determinants < 5.0 * 1.1)
