"""The second stage of an estimate: residuals weighted by the inverse of their covariance."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, ArrayLike, Float

from .._keys import single_key
from .._results import RESULTS
from ..divergences import WeightedDistance, covariance_of
from ..optimise import Equations, Recorder, find_root
from ..population import Specimens
from ..summaries import AbstractSummary, SlicedQuantiles
from ._minimum_distance import MinimumDistance
from ._results import MinimumDistanceResult, ReweightedFit


def reweight(
    estimator: MinimumDistance,
    fit: MinimumDistanceResult,
    *args: Any,
    rng_key: ArrayLike,
    num_pilot: int = 20_000,
    num_projections: int = 16,
    num_bins: int | None = None,
    ridge: float = 1e-3,
    coordinates: Callable | None = None,
    summary: AbstractSummary | None = None,
    tolerance: float = 0.1,
    max_steps: int = 10,
    **kwargs: Any,
) -> ReweightedFit:
    """Second stage of an estimate, with residuals weighted by the inverse of their covariance.

    A pilot of `num_pilot` specimens at the first estimate gives the covariance of the binned sliced quantiles m, hence
    weights W (see `WeightedDistance`), and their Jacobian, hence the combinations A = J' W of residuals that
    tell most about each parameter. Both are then held, and Newton steps solve

        A (m(simulated at theta) - m(measured)) = 0,    H = A G,

    with G the Jacobian on a population that is independent of the pilot. So the noise of the pilot, which W amplifies,
    costs a little precision, but makes neither the steps too short nor the standard errors too small: they are the
    roots of the diagonal of H^-1 (A C A') H^-T (1/N + 1/M), C the covariance on the new population.

    Args:
        estimator: the estimator of the first stage.
        fit: what it has returned, converged, for the same data.
        *args: positional arguments of the model, as in the first stage.
        rng_key: key of everything random; not the one of the first stage.
        num_pilot: number of specimens of the pilot. With fewer than 20,000 take a larger `ridge`.
        num_projections: number of directions of the slices.
        num_bins: number of bins of ranks in each direction; default: 20, or 80 if there is one direction only.
        ridge: fraction of the largest eigenvalue of the covariance that is added to all: 1e-3 for 20,000 specimens,
            1e-2 for 8000.
        coordinates: function from a cloud to its coordinates, as `LogEuclidean(estimator.scale.scales, fold=True)`;
            default: the scaled components themselves.
        summary: features in place of these sliced quantiles, as `Moments()`.
        tolerance: the iteration ends when a step is shorter than this many standard errors, or than three times that
            and the equations, which are rough on small scales, are solved no better.
        max_steps: most Newton steps.
        **kwargs: keyword arguments of the model.

    Returns:
        A `ReweightedFit`; `result` says if the iteration has not converged.

    Raises:
        ValueError: if the fit is of another estimator or other data, leaves directions undetermined, or `num_pilot`,
            `ridge`, `tolerance` or `max_steps` are out of range.
        RuntimeError: if a specimen of the pilot or its derivative is not finite.

    Costs `num_pilot` specimens with derivatives and some three populations; nothing of the simulation is compiled
    again. It is a local step: the first stage must have found the right basin.

    Example:
        >>> fit = estimator.run(jax.random.key(0), num_specimens=4000)
        >>> sharper = reweight(estimator, fit, rng_key=jax.random.key(1), num_specimens=4000)
        >>> sharper.params["kappa"], sharper.standard_errors["kappa"], sharper.p_value
    """
    if not tolerance > 0 or max_steps < 1 or num_pilot < 1:
        raise ValueError(
            f"tolerance, max_steps and num_pilot must be positive; got {tolerance}, {max_steps}, {num_pilot}."
        )
    rng_key = single_key(rng_key)
    _check_fit(estimator, fit)
    problem = estimator.problem(*args, **kwargs)
    problem.begin_run(estimator.scale, Recorder())
    num_simulated = problem.simulator.num_specimens
    pilot_key, direction_key, simulation_key = jax.random.split(rng_key, 3)

    keys = jax.random.split(pilot_key, math.ceil(num_pilot / num_simulated))

    def simulate(position, key):
        return problem.simulate(position, key, num_simulated)[0]

    pilot = [simulate(fit.unconstrained, key) for key in keys]
    cloud, tangents, scores = jax.tree.map(lambda *parts: jnp.concatenate(parts), *pilot)
    if not bool(jnp.isfinite(cloud).all() & jnp.isfinite(tangents).all()):
        raise RuntimeError("A specimen of the pilot or its derivative is not finite at the first estimate.")
    if summary is None:
        options: dict[str, Any] = {"num_projections": num_projections, "num_bins": num_bins, "coordinates": coordinates}
        summary = SlicedQuantiles.of_pilot(cloud, rng_key=direction_key, **options)
    weighted = WeightedDistance.from_pilot(cloud, summary, ridge=ridge)
    values, vectors = (np.asarray(part, float) for part in (weighted.eigenvalues, weighted.eigenvectors))
    pilot_jacobian = vectors.T @ np.asarray(_jacobian(summary, cloud, tangents, scores), float)
    instruments = pilot_jacobian.T / (values + ridge * values.max()) @ vectors.T
    noise = 1 / estimator.scale.num_specimens + 1 / num_simulated

    def evaluate(position):
        looked = _features(summary, simulate(position, simulation_key), problem.data[0])
        residual, jacobian, influence = (np.asarray(part, float) for part in looked)
        inner = influence @ instruments.T
        details = (residual, jacobian, inner)
        return Equations(instruments @ residual, instruments @ jacobian, covariance_of(inner) * noise, details)

    end = find_root(evaluate, fit.unconstrained, tolerance, max_steps)
    residual, jacobian, inner = end.equations.details
    residual = residual + jacobian @ end.step
    inverse = np.linalg.inv(end.equations.jacobian)
    of_measured = np.asarray(_influence(summary, problem.data[0]), float) @ instruments.T @ inverse.T

    root = vectors.T @ jacobian / np.sqrt(values + ridge * values.max())[:, None]
    curvature = root.T @ root / float(weighted.num_effective)
    j_statistic, freedom = _j_statistic(values, vectors, ridge, residual, jacobian, noise)
    result: Any = RESULTS.successful if end.converged else RESULTS.fit_not_converged
    outer = problem.parameters.jacobian(end.position)
    covariance = outer @ end.covariance @ outer.T
    return ReweightedFit(
        params=problem.parameters.at(end.position),
        standard_errors=problem.parameters.by_name(np.sqrt(np.diag(covariance))),
        covariance=covariance,
        labels=tuple(problem.parameters.labels),
        unconstrained=end.position,
        unconstrained_covariance=end.covariance,
        curvature=curvature,
        loss_scale=float(len(curvature) / (2 * np.trace(curvature @ end.covariance))),
        influences=(of_measured, -inner @ inverse.T),
        j_statistic=j_statistic,
        degrees_of_freedom=freedom,
        p_value=float(scipy.special.chdtrc(freedom, j_statistic)) if freedom > 0 else float("nan"),
        weighted=weighted,
        first=fit,
        result=result,
        stats={
            "iterations": end.num_evaluations,
            "solves": (len(keys) + end.num_evaluations) * num_simulated,
            "num_pilot": len(keys) * num_simulated,
        },
    )


def _j_statistic(
    values: Float[np.ndarray, "F"],
    vectors: Float[np.ndarray, "F F"],
    ridge: float,
    residual: Float[np.ndarray, "F"],
    jacobian: Float[np.ndarray, "F P"],
    noise: float,
) -> tuple[float, int]:
    """Squared length of the whitened residual off the tangent space, and its degrees of freedom."""
    kept = values > ridge * values.max()
    white = (vectors[:, kept] / np.sqrt(values[kept])).T
    tangent, _ = np.linalg.qr(white @ jacobian)
    rest = white @ residual
    rest = rest - tangent @ (tangent.T @ rest)
    return float(rest @ rest / noise), int(kept.sum()) - jacobian.shape[1]


_jacobian = eqx.filter_jit(lambda summary, *specimens: summary.jacobian(*specimens))
_influence = eqx.filter_jit(lambda summary, cloud: summary.influence(cloud, cloud))


@eqx.filter_jit
def _features(summary: AbstractSummary, simulated: Specimens, measured: Array) -> tuple[Array, Array, Array]:
    """Residual of the features, their Jacobian and influence."""
    cloud, residual = simulated.points, summary(simulated.points) - summary(measured)
    return residual, summary.jacobian(*simulated), summary.influence(cloud, cloud)


def _check_fit(estimator: MinimumDistance, fit: MinimumDistanceResult) -> None:
    same = fit.data.keys() == estimator._data.keys() and all(
        np.array_equal(fit.data[key], estimator._data[key]) for key in fit.data
    )
    if not same:
        raise ValueError("The fit is of other data than the estimator: pass `estimator.with_data(...)` of the same.")
    if fit.undetermined:
        raise ValueError(
            f"The first stage leaves directions undetermined ({'; '.join(fit.undetermined)}): weights cannot find them."
            " Fix a parameter or measure something else first."
        )
    if fit.at_edge:
        raise ValueError(
            f"The first stage ends at an edge of the support of a prior ({'; '.join(fit.at_edge)}): equations have no"
            " root there. Hold these parameters (`handlers.condition`), or widen the prior, and fit again."
        )
