"""Draws of an estimate from a fit alone, by random weights on its specimens."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._keys import single_key
from ..optimise import least_points
from ..population import ParameterSpace

_BLOCK = 2**22  # random weights at a time
_NUM_STEPS = 30


def posterior_bootstrap(rng_key: ArrayLike, fit: Any, *, num_draws: int = 1000) -> dict[str, np.ndarray]:
    """Draws of the parameters by random weights on the measured and the simulated specimens.

    For each draw the specimens get weights w ~ Dirichlet(1, ..., 1), the measured and the simulated ones by themselves,
    and the estimate that belongs to them takes one Gauss-Newton step from the fit, without a solve: in unconstrained
    space it moves by

        sum_i w_i psi_i (measured) + sum_j w_j psi_j (simulated),

    psi the influence of one specimen on the estimate. The covariance of the draws is that of the sandwich, in all
    directions, and no scale has to be chosen. The divergence is then taken as quadratic in the *constrained*
    parameters, and each draw is its least point within the support of the prior: near an edge the draws lie on one
    side.

    Args:
        rng_key: key of the weights.
        fit: a `MinimumDistanceResult` or a `ReweightedFit`: what `MinimumDistance.run` or `reweight` has returned.
        num_draws: number of draws.

    Returns:
        Name -> draws, shape (num_draws, *shape of the parameter), constrained, in the model's units.

    Raises:
        ValueError: if the fit has no standard errors (its divergence is no sum of squares), or `num_draws` < 1.

    Costs no solve and about a second: mostly the compilation of the map to constrained space, and num_draws times
    the number of specimens random numbers. The prior plays no part but for its support. Directions that the data leave
    undetermined, and parameters at an edge, do not move. It is of first order in the weights, and knows nothing of
    other basins or of discretisation errors.

    References:
        Lyddon, Holmes and Walker, Biometrika 106 (2019).

    Example:
        >>> draws = posterior_bootstrap(jax.random.key(0), fit)
        >>> np.percentile(draws["kappa"], [5, 95], axis=0)
    """
    if num_draws < 1:
        raise ValueError(f"num_draws must be positive; got {num_draws}.")
    if fit.influences is None:
        raise ValueError(
            "This fit has no standard errors: its divergence is no sum of squares, so the influence of a specimen is"
            " not known. Fit with SlicedWasserstein(), or repeat the fit on resampled data."
        )
    generator = np.random.default_rng(np.ravel(jax.random.key_data(single_key(rng_key))))
    moves = np.sum([_weighted_sums(generator, part, num_draws) for part in fit.influences], axis=0)
    draws = _least_points(
        fit.simulator.parameters, fit.unconstrained, moves.astype(fit.unconstrained.dtype), fit.curvature
    )
    return {name: np.asarray(values) for name, values in draws.items()}


def _weighted_sums(
    generator: np.random.Generator, influence: Float[np.ndarray, "specimens P"], num_draws: int
) -> Float[np.ndarray, "draws P"]:
    """Means of the rows of `influence` with Dirichlet weights."""
    size = max(1, _BLOCK // len(influence))
    sums = []
    for begin in range(0, num_draws, size):
        weights = generator.standard_exponential((min(size, num_draws - begin), len(influence)))
        sums.append(weights @ influence / weights.sum(axis=1, keepdims=True))
    return np.concatenate(sums)


def _least_points(
    parameters: ParameterSpace,
    position: Float[np.ndarray, "P"],
    moves: Float[np.ndarray, "draws P"],
    curvature: Float[np.ndarray, "P P"],
) -> dict[str, Array]:
    """Constrained values by name where a quadratic divergence is least, for each of its free minima `moves` away.

    With c(u) the constrained parameters of the unconstrained u, C its derivative at the position u^, and R'R the
    curvature there: the least |R C^+ (c(u) - c(u^) - C move)|^2, by Levenberg-Marquardt. Where c is linear, or the
    target is inside of the support, u is where c meets it.
    """
    values, vectors = np.linalg.eigh(curvature)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    floor = np.einsum("ij,ij->j", root, root)
    floor = np.where(floor > 0, floor, 1.0)

    def natural(vector):
        params = parameters.from_vector(vector)
        return jnp.concatenate([params[name].reshape(-1) for name in parameters]), params

    def with_slope(vector):
        here, params = natural(vector)
        return here, jax.jacfwd(lambda vector: natural(vector)[0])(vector), params

    program = jax.jit(jax.vmap(with_slope))

    def evaluate(vectors):
        here, slope, params = program(jnp.asarray(vectors, position.dtype))
        return np.asarray(here, float), np.asarray(slope, float), params

    starts = np.tile(np.asarray(position, float), (len(moves), 1))
    here, slope, _ = evaluate(starts)
    target, metric = here + moves @ slope[0].T, root @ np.linalg.pinv(slope[0])

    def residuals(vectors):
        here, slope, _ = evaluate(vectors)
        return (here - target) @ metric.T, metric @ slope

    return evaluate(least_points(residuals, starts, floor, _NUM_STEPS))[2]
