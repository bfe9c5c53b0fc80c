"""Every estimate from volume fractions, as functions to test alike, and random mixtures to test them with."""

import jax.numpy as jnp
import numpy as np

import numpyro_homog as nh

FRACTIONS = np.array([0.2, 0.5, 0.3])
KAPPA = np.array([4.0, 1.0, 10.0])
# Not well-ordered: the stiffest in bulk is the softest in shear.
BULK, SHEAR = np.array([5.0, 20.0, 8.0]), np.array([3.0, 1.0, 6.0])


def functions(ndim):
    """Every estimate of a scalar property, as functions of (fractions, kappa)."""
    return {
        "voigt": nh.voigt_bound,
        "reuss": nh.reuss_bound,
        "lower": lambda f, k: nh.hashin_shtrikman_bounds(f, k, ndim=ndim)[0],
        "upper": lambda f, k: nh.hashin_shtrikman_bounds(f, k, ndim=ndim)[1],
        "self-consistent": lambda f, k: nh.self_consistent(f, k, ndim=ndim),
    }


def elastic(ndim):
    """Every estimate of a pair of moduli, as functions of (fractions, (bulk, shear))."""
    return {
        "lower": lambda f, p: nh.hashin_shtrikman_bounds(f, p, ndim=ndim)[0],
        "upper": lambda f, p: nh.hashin_shtrikman_bounds(f, p, ndim=ndim)[1],
        "self-consistent": lambda f, p: nh.self_consistent(f, p, ndim=ndim),
    }


def mixtures(seed, num=50, phases=4, decades=3.0):
    """Random fractions and positive properties, (num, phases)."""
    rng = np.random.default_rng(seed)
    values = 10 ** rng.uniform(0, decades, (2, num, phases))
    return jnp.asarray(rng.dirichlet(np.ones(phases), num)), jnp.asarray(values[0]), jnp.asarray(values[1])
