"""What holds of a `FractionSurrogate` exactly, whatever its networks are."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpyro_homog as nh
from numpyro_homog.surrogates import FractionSurrogate
from numpyro_homog.tensors import from_unique_components, unique_components

FRACTIONS = jnp.array([[0.2, 0.3, 0.5], [0.7, 0.1, 0.2]])
KINDS = {
    "conduction in the plane": (nh.Conductivity(), 2, nh.PrimalDual(), 1),
    "conduction of plain voxels": (nh.Conductivity(), 2, nh.Primal(), 1),
    "conduction in space": (nh.Conductivity(), 3, nh.Primal(), 1),
    "elasticity in the plane": (nh.LinearElasticity(), 2, nh.Primal(), 2),
    "elasticity in space": (nh.LinearElasticity(), 3, nh.Primal(), 2),
}
FAST = ("conduction in the plane",)
each_kind = pytest.mark.parametrize(
    "kind", [kind if kind in FAST else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
PROPERTIES = [jnp.array([1.0, 5.0, 10.0]), jnp.array([2.0, 1.0, 4.0])]


@functools.cache
def surrogate_of(kind, num_grains=100):
    """One with weights that are not small, as if it had been trained."""
    law, ndim, discretization, _ = KINDS[kind]
    cell = nh.CellProblem(nh.Grid((8,) * ndim), law, nh.Periodic(), discretization=discretization)
    found = FractionSurrogate(cell, num_grains, rng_key=jax.random.key(0), width=8, depth=1)
    arrays, static = eqx.partition(found, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    leaves = [x + 0.2 * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(structure, leaves), static)


def inputs_of(kind):
    return FRACTIONS, *PROPERTIES[: KINDS[kind][3]]


@functools.cache
def sampler(kind, num_grains=100):
    return eqx.filter_jit(surrogate_of(kind, num_grains).sample)


@each_kind
def test_phases_may_be_numbered_otherwise_absent_or_scaled(kind, eps):
    draw, key, inputs = sampler(kind), jax.random.key(2), inputs_of(kind)
    expected = draw(key, *inputs)
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(draw(key, *(x[..., order] for x in inputs)), expected, rtol=1e3 * eps)
    np.testing.assert_allclose(draw(key, inputs[0], *(7 * x for x in inputs[1:])), 7 * expected, rtol=1e3 * eps)
    absent = [jnp.concatenate([x, x[..., :1]], axis=-1) for x in inputs]
    absent[0] = absent[0].at[..., 3].set(0)
    np.testing.assert_allclose(draw(key, *absent), expected, rtol=1e3 * eps)


@each_kind
def test_pure_and_equal_phases_have_their_tensor_and_no_spread(kind, eps):
    draw, inputs = sampler(kind), inputs_of(kind)
    pure = draw(jax.random.key(2), jnp.eye(3)[:2], *inputs[1:])
    equal = draw(jax.random.key(2), FRACTIONS, *(jnp.full_like(x, x[1]) for x in inputs[1:]))
    _, ndim, _, num = KINDS[kind]
    for found, phase in ((pure[0], 0), (pure[1], 1), (equal[0], 1), (equal[1], 1)):
        values = [part[phase] for part in PROPERTIES[:num]]
        if num == 1:
            expected = values[0] * np.eye(ndim)
        else:
            bulk, shear = values
            expected = nh.isotropic_stiffness(bulk - 2 * shear / ndim, shear, ndim)
        np.testing.assert_allclose(found, expected, atol=1e4 * eps)
    sample = surrogate_of(kind).sample
    slope_fn = jax.jacfwd(lambda x: sample(jax.random.key(2), jnp.eye(3)[0], *x))
    slopes = jax.jit(slope_fn)(inputs[1:])
    assert all(jnp.isfinite(slope).all() for slope in slopes)


@each_kind
def test_the_variance_is_inverse_to_the_number_of_grains(kind, eps):
    few, many = surrogate_of(kind), surrogate_of(kind, 400)
    tensors = sampler(kind)(jax.random.key(2), *inputs_of(kind))
    ratios = eqx.filter_jit(lambda *args: few.standardize(*args) / many.standardize(*args))
    ratio = ratios(tensors, *inputs_of(kind))
    np.testing.assert_allclose(ratio, 0.5, rtol=1e4 * eps)


@each_kind
def test_the_density_is_that_of_the_standardised_residuals(kind, eps):
    """By the change of variables, with the derivative by automatic differentiation."""
    surrogate, inputs = surrogate_of(kind), [inputs_of(kind)[0][0], *inputs_of(kind)[1:]]
    tensor = sampler(kind)(jax.random.key(3), *inputs)
    found = eqx.filter_jit(surrogate.log_prob)(tensor, *inputs)

    def residuals(components):
        return surrogate.standardize(from_unique_components(components), *inputs)

    both = jax.jit(lambda x: (residuals(x), jax.jacfwd(residuals)(x)))
    residual, slope = both(unique_components(tensor))
    weight, ratio = jax.nn.sigmoid(surrogate.tails[0]), jnp.exp(jax.nn.softplus(surrogate.tails[1]))
    unit = jnp.sqrt(1 - weight + weight * ratio**2)
    normal = jax.scipy.stats.norm.pdf
    parts = jnp.prod(normal(residual * unit)), jnp.prod(normal(residual * unit / ratio) / ratio)
    expected = jnp.log((1 - weight) * parts[0] + weight * parts[1]) + jnp.linalg.slogdet(slope * unit)[1]
    np.testing.assert_allclose(found, expected, rtol=1e5 * eps, atol=1e5 * eps)


@each_kind
def test_draws_have_the_mean_and_residuals_that_are_said(kind):
    """Within 4.5 standard errors of 4000 draws: once in some 100,000 for each number."""
    surrogate, (fractions, *properties) = surrogate_of(kind), inputs_of(kind)
    fractions = jnp.broadcast_to(fractions[0], (4000, 3))
    tensors = sampler(kind)(jax.random.key(4), fractions, *properties)
    residuals = eqx.filter_jit(surrogate.standardize)(tensors, fractions, *properties)
    assert (jnp.abs(jnp.mean(residuals, axis=0)) < 4.5 * jnp.std(residuals, axis=0) / 4000**0.5).all()
    fourth = jnp.mean(residuals**4, axis=0)
    assert (jnp.abs(jnp.mean(residuals**2, axis=0) - 1) < 4.5 * jnp.sqrt((fourth - 1) / 4000)).all()
    difference = jnp.mean(tensors, axis=0) - eqx.filter_jit(surrogate.mean)(fractions[0], *properties)
    assert (jnp.abs(difference) < 4.5 * jnp.std(tensors, axis=0) / 4000**0.5).all()


def test_duality_is_exact_where_the_cell_has_it(eps):
    """The tensor of 1 / k is the inverse of that of k, turned by a right angle: so are the laws."""
    surrogate, inputs = surrogate_of("conduction in the plane"), inputs_of("conduction in the plane")
    tensors = sampler("conduction in the plane")(jax.random.key(2), *inputs)
    turned = tensors / jnp.linalg.det(tensors)[:, None, None]
    standardize = eqx.filter_jit(surrogate.standardize)
    residuals = standardize(tensors, *inputs)
    dual = standardize(turned, inputs[0], 1 / inputs[1])
    np.testing.assert_allclose(dual, residuals * jnp.array([-1.0, 1.0, 1.0]), atol=1e4 * eps)
