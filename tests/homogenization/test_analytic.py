"""Cells in closed form, against listed numbers and against finite elements."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_cells import make_cell, smooth_field

import numpyro_homog as nh

# Mortola-Steffe checkerboard, (1, 2, 5, 10): validation numbers of Craster and Obnosov 2001.
PHASES, K11, K22 = (1.0, 2.0, 5.0, 10.0), 4.136557882, 2.417468892


@pytest.mark.x32
def test_four_phase_checkerboard(x64):
    tensor = nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray(PHASES))
    assert tensor.shape == (2, 2)
    # The numbers have ten digits.
    np.testing.assert_allclose(tensor, [[K11, 0], [0, K22]], rtol=3e-10 if x64 else 1e-6)


@pytest.mark.x64_only
def test_two_colours_give_the_geometric_mean():
    tensor = nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray([2.0, 18.0, 2.0, 18.0]))
    np.testing.assert_allclose(tensor, 6 * np.eye(2), rtol=1e-14)


@pytest.mark.x64_only
def test_two_by_two_laminates_are_harmonic_and_arithmetic():
    # s1, s4 at x0 and s2, s3 at x1: layers across the first axis.
    across = nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray([1.0, 3.0, 3.0, 1.0]))
    np.testing.assert_allclose(across, [[1.5, 0], [0, 2]], rtol=1e-14)
    across = nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray([1.0, 1.0, 3.0, 3.0]))
    np.testing.assert_allclose(across, [[2, 0], [0, 1.5]], rtol=1e-14)


@pytest.mark.x64_only
def test_obnosov_is_a_checkerboard_of_one_odd_phase():
    for h in (0.1, 2.0, 10.0, 100.0):
        tensor = nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray([1.0, 1.0, h, 1.0]))
        np.testing.assert_allclose(tensor, np.sqrt((1 + 3 * h) / (3 + h)) * np.eye(2), rtol=1e-14, atol=1e-15)


def test_the_quadrants_stand_where_the_docstring_says(x64):
    # The finite-element cell reads field[i, j] with axis 0 the first coordinate. Its tensor is an upper bound.
    s1, s2, s3, s4 = PHASES
    field = jnp.repeat(jnp.repeat(jnp.asarray([[s1, s4], [s2, s3]]), 8, 0), 8, 1)
    exact = np.asarray(nh.effective_tensor(nh.CheckerboardCell(), jnp.asarray(PHASES)))
    upper = np.asarray(nh.effective_tensor(make_cell((16, 16)), field))
    excess = np.diagonal(upper) / np.diagonal(exact) - 1
    assert np.all((excess > 0) & (excess < 2e-3)), excess
    # (K11 and K22 differ by 70 %, so a transposed convention cannot pass.)
    assert abs(upper[0, 1]) < 1e-6


@pytest.mark.x64_only
def test_the_checkerboard_obeys_euler_duality_and_symmetry():
    s = smooth_field(0, (4,), (6,))
    cell = nh.CheckerboardCell()
    tensor = nh.effective_tensor(cell, s)
    _, euler = jax.jvp(lambda s: nh.effective_tensor(cell, s), (s,), (s,))
    np.testing.assert_allclose(euler, tensor, rtol=1e-12)
    inverse = nh.effective_tensor(cell, 1 / s)
    determinant = tensor[:, 0, 0] * tensor[:, 1, 1]
    np.testing.assert_allclose(inverse, tensor / determinant[:, None, None], rtol=1e-12)
    np.testing.assert_allclose(nh.effective_tensor(cell, jnp.roll(s, 2, -1)), tensor, rtol=1e-12)  # half a period
    exchanged = nh.effective_tensor(cell, s[:, jnp.asarray([0, 3, 2, 1])])  # axes exchanged
    np.testing.assert_allclose(exchanged, jnp.flip(tensor, (-1, -2)), rtol=1e-12)


@pytest.mark.x32
def test_the_laminate_is_a_harmonic_mean(eps):
    cell = nh.LaminateCell()
    tensor = nh.effective_tensor(cell, (jnp.asarray([0.5, 0.5]), jnp.asarray([1.0, 3.0])))
    assert tensor.shape == (1, 1)
    np.testing.assert_allclose(tensor, [[1.5]], rtol=4 * eps)
    fractions = jnp.asarray([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    tensor = nh.effective_tensor(cell, (fractions, jnp.asarray([1.0, 2.0, 10.0])))
    np.testing.assert_allclose(tensor[:, 0, 0], [1 / 0.4, 2.0], rtol=4 * eps)


@pytest.mark.x64_only
def test_the_laminate_agrees_with_one_dimensional_finite_elements():
    k = smooth_field(0, (8,), (3,))
    exact = nh.effective_tensor(nh.LaminateCell(), (jnp.full((8,), 1 / 8), k))
    np.testing.assert_allclose(nh.effective_tensor(make_cell((8,), tolerance=1e-13), k), exact, rtol=1e-11)


@pytest.mark.x64_only
def test_the_laminate_broadcasts_its_two_parts():
    fractions, kappa = jnp.full((4, 1, 2), 0.5), smooth_field(0, (2,), (3,))
    tensor = nh.effective_tensor(nh.LaminateCell(), (fractions, kappa))
    assert tensor.shape == (4, 3, 1, 1)
    np.testing.assert_allclose(tensor[2, :, 0, 0], 2 / jnp.sum(1 / kappa, axis=-1), rtol=1e-14)


@pytest.mark.x32
def test_moments_of_dirichlet_laminates():
    # phi ~ Dir(2, 3, 5), k = (1, 2, 10): E[1/K] = .4, Var[1/K] = .0109091, E[(1 + 1/K)^-10] = .0459942.
    num = 20_000
    weights = np.random.default_rng(0).dirichlet([2.0, 3.0, 5.0], num)
    tensor = nh.effective_tensor(nh.LaminateCell(), (jnp.asarray(weights), jnp.asarray([1.0, 2.0, 10.0])))
    resistance = 1 / np.asarray(tensor[:, 0, 0], float)
    squares = (resistance - 0.4) ** 2
    for sample, expected in ((resistance, 0.4), (squares, 0.0109091), ((1 + resistance) ** -10, 0.0459942)):
        # Three checks at four standard errors: a false alarm in 5000 seeds; the seed is fixed.
        assert abs(sample.mean() - expected) < 4 * sample.std() / np.sqrt(num)


@pytest.mark.x64_only
@pytest.mark.parametrize("name", ["laminate", "checkerboard"])
def test_closed_forms_under_vmap_jit_and_both_derivative_modes(name):
    if name == "laminate":
        cell, fields = nh.LaminateCell(), (jnp.full((5, 3), 1 / 3), smooth_field(1, (3,), (5,)))
    else:
        cell, fields = nh.CheckerboardCell(), smooth_field(1, (4,), (5,))
    batch = nh.effective_tensor(cell, fields)
    one = jax.jit(jax.vmap(lambda field: nh.effective_tensor(cell, field)))(fields)
    np.testing.assert_allclose(one, batch, rtol=1e-14)
    # Along one direction: forward, reverse, and central differences with step eps^(1/3), whose error is near 1e-10.
    move = jax.jit(lambda t: jnp.sum(nh.effective_tensor(cell, jax.tree.map(lambda f: f + t * f**2, fields)) ** 2))
    _, forward = jax.jvp(move, (0.0,), (1.0,))
    np.testing.assert_allclose(jax.grad(move)(0.0), forward, rtol=1e-12)
    np.testing.assert_allclose((move(6e-6) - move(-6e-6)) / 12e-6, forward, rtol=1e-8)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_closed_forms_refuse_bad_coefficients(value):
    bad = jnp.asarray([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, value, 4.0]])
    flat = jnp.full((4,), 0.25)
    for cell, field in ((nh.CheckerboardCell(), bad), (nh.LaminateCell(), (flat, bad))):
        with pytest.raises(Exception, match="positive coefficients"):
            jax.block_until_ready(nh.effective_tensor(cell, field))
        tensors = nh.effective_tensor(cell, field, throw=False)
        assert np.all(np.isfinite(tensors[0]))
        assert np.all(np.isnan(tensors[1]))


def test_the_laminate_refuses_fractions_that_are_not_fractions():
    kappa = jnp.asarray([1.0, 2.0])
    tensors = nh.effective_tensor(nh.LaminateCell(), (jnp.asarray([[-0.5, 1.5], [0.5, 0.5]]), kappa), throw=False)
    np.testing.assert_array_equal(np.isnan(tensors[:, 0, 0]), [True, False])


def test_closed_forms_say_what_shape_they_expect():
    # The shape check of the test configuration comes first, and is a TypeError.
    with pytest.raises((ValueError, TypeError), match=r"\*batch"):
        nh.effective_tensor(nh.CheckerboardCell(), jnp.ones(3))
    with pytest.raises((ValueError, TypeError), match=r"last axis of both|\*#batch"):
        nh.effective_tensor(nh.LaminateCell(), (jnp.ones(3), jnp.ones(2)))
