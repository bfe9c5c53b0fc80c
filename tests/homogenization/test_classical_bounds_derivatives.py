"""Bounds and estimates from volume fractions under differentiation, `jit` and `vmap`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from phase_estimates import BULK, FRACTIONS, KAPPA, SHEAR, elastic, functions, mixtures
from random_cells import random_spd

import numpyro_homog as nh

each_ndim = pytest.mark.parametrize("ndim", [2, 3])


@pytest.fixture
def rtol(eps):
    return 40 * eps


def directional(fn, arguments, seed=0):
    """Function of a step along a random direction that keeps the sum of the fractions."""
    rng = np.random.default_rng(seed)
    moves = [rng.normal(size=np.shape(x)) for x in arguments]
    moves[0] -= moves[0].mean(-1, keepdims=True)
    moves = [jnp.asarray(m) for m in moves]

    def along(t):
        return fn(*(x + t * 0.05 * m for x, m in zip(arguments, moves, strict=True)))

    return along


CRYSTALS = random_spd(3, (3,))


def cases(ndim):
    fractions, kappa = jnp.asarray(FRACTIONS), jnp.asarray(KAPPA)
    for name, fn in functions(ndim).items():
        yield name, fn, (fractions, kappa)
    for name, fn in elastic(ndim).items():
        both = lambda f, b, g, fn=fn: sum(w * x for w, x in zip((1.0, 3.0), fn(f, (b, g)), strict=True))  # noqa: E731
        yield f"elastic {name}", both, (fractions, jnp.asarray(BULK), jnp.asarray(SHEAR))
    if ndim == 2:
        yield "tensors", lambda f, t: jnp.sum(nh.voigt_bound(f, t) * nh.reuss_bound(f, t)), (fractions, CRYSTALS)


@pytest.mark.x64_only
@pytest.mark.parametrize("case", list(cases(2)) + list(cases(3)), ids=lambda case: case[0])
def test_derivatives_in_both_modes_against_differences(case):
    name, fn, arguments = case
    along = jax.jit(directional(fn, arguments))
    step = np.finfo(float).eps ** (1 / 3)
    _, forward = jax.jvp(along, (0.0,), (1.0,))
    np.testing.assert_allclose(jax.grad(along)(0.0), forward, rtol=1e-12)
    # The truncation of central differences is about step^2 = 4e-11, relative to values of order ten.
    np.testing.assert_allclose((along(step) - along(-step)) / (2 * step), forward, rtol=1e-8, atol=1e-9)
    if "self-consistent" in name:  # its rule is written by hand
        slope = jax.jit(jax.grad(along))
        second = jax.jit(jax.grad(jax.grad(along)))(0.0)
        np.testing.assert_allclose((slope(step) - slope(-step)) / (2 * step), second, rtol=1e-7, atol=1e-8)


@pytest.mark.x32
@each_ndim
def test_jit_and_vmap_change_nothing(ndim, rtol):
    fractions, bulk, shear = mixtures(5, num=7, decades=1.0)
    for name, fn in functions(ndim).items():
        together = np.asarray(fn(fractions, bulk))
        np.testing.assert_allclose(jax.jit(jax.vmap(fn))(fractions, bulk), together, rtol=rtol, err_msg=name)
    for name, fn in elastic(ndim).items():
        together = np.asarray(fn(fractions, (bulk, shear)))
        np.testing.assert_allclose(jax.jit(jax.vmap(fn))(fractions, (bulk, shear)), together, rtol=rtol, err_msg=name)
