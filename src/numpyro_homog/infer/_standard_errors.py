"""Standard errors of a fit, and the parameters that have none."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..divergences import Sandwich, covariance_of, sandwich
from ..optimise import Descent, Evaluation
from ._divergence_objective import DivergenceObjective
from ._problem import Problem

_NUM_DRAWS = 1000
_PERCENTILES = (16.0, 84.0)
_ENOUGH, _MOST_FRESH = 10_000, 1.5
_AT_EDGE, _KNOWN = 0.01, 0.5


class StandardErrors(NamedTuple):
    """What `MinimumDistanceResult` says of the precision of an estimate; see there."""

    standard_errors: dict[str, np.ndarray] | None = None
    covariance: np.ndarray | None = None
    unconstrained_covariance: np.ndarray | None = None
    curvature: np.ndarray | None = None
    loss_scale: float | None = None
    undetermined: tuple[str, ...] = ()
    at_edge: tuple[str, ...] = ()
    influences: tuple[np.ndarray, np.ndarray] | None = None


def standard_errors(
    problem: Problem,
    best: Descent,
    objective: DivergenceObjective,
    prior: Float[np.ndarray, "draws P"],
    *,
    is_final: bool = False,
) -> StandardErrors:
    """Precision of the estimate at the end `best` of a descent on this objective.

    If it is the final one, specimens are simulated for it alone: with those of the fit 10,000, but at most one and a
    half times as many as those.
    """
    whole = problem.simulator.num_specimens
    num_fresh = max(0, min(_ENOUGH - whole, math.ceil(_MOST_FRESH * whole))) if is_final else 0
    evaluation, of_measured, of_simulated = objective.influences(best.position, num_fresh)
    if best.num_populations > 1:
        evaluation = best.evaluation  # the mean over the populations of its rounds
    num_simulated = int(best.num_populations) * whole
    scatter = covariance_of(of_measured) / len(of_measured) + covariance_of(of_simulated) / num_simulated
    eps, labels = float(np.finfo(best.position.dtype).eps), problem.parameters.labels
    jacobian = problem.parameters.jacobian(best.position)
    known = _entries(problem, prior)
    found = sandwich(evaluation, scatter, eps)
    fixed = _fixed_at_edge(jacobian, found.covariance, prior, _width(known))
    if fixed.any():
        found = _sandwich_of(evaluation, scatter, eps, np.flatnonzero(~fixed))
    covariance = jacobian @ found.covariance @ jacobian.T

    loose = jacobian @ found.undetermined
    flat = (np.abs(loose) > 1e-2 * np.linalg.norm(loose, axis=0)).any(axis=1)
    # At most one parameter for each coordinate: the first of those that it moves most, in units of the prior.
    edge = np.zeros(len(jacobian), bool)
    edge[np.argmax(np.abs(jacobian) / _width(known)[:, None], axis=0)[fixed]] = True
    drawn = _entries(problem, _normal_draws(best.position, found.covariance, _NUM_DRAWS))
    lost = _is_wider_than_prior(drawn, known) & ~flat & ~edge
    words = [f"{labels[i]} (its prior is narrower)" for i in np.flatnonzero(lost)]
    variances = np.diag(covariance)
    errors = np.where(flat | lost | edge | ~(variances > 0), np.inf, np.sqrt(np.maximum(variances, 0)))
    return StandardErrors(
        problem.parameters.by_name(errors),
        covariance,
        found.covariance,
        evaluation.curvature - evaluation.curvature_noise,
        found.loss_scale,
        (*problem.parameters.describe_directions(loose), *words),
        tuple(labels[i] for i in np.flatnonzero(edge)),
        # Mass that moves to a simulated specimen pulls the other way than to a measured one.
        (of_measured @ found.inverse, of_simulated @ found.inverse * -math.sqrt(len(of_simulated) / num_simulated)),
    )


def _normal_draws(
    mean: Float[np.ndarray, "P"], covariance: Float[np.ndarray, "P P"], num_draws: int
) -> Float[np.ndarray, "draws P"]:
    """Draws of N(mean, covariance) by fixed numbers, in the precision of the mean."""
    noise = np.random.default_rng(0).standard_normal((num_draws, len(mean)))
    values, vectors = np.linalg.eigh(covariance)
    return (mean + (noise * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(mean.dtype)


def _fixed_at_edge(
    jacobian: Float[np.ndarray, "entries P"],
    covariance: Float[np.ndarray, "P P"],
    prior: Float[np.ndarray, "draws P"],
    width: Float[np.ndarray, " entries"],
) -> Bool[np.ndarray, "P"]:
    """Which coordinates of unconstrained space have run to an edge of the support.

    There no step of the size of the prior moves any parameter by a hundredth of the width of its prior. If the data
    tell the coordinate all the same, it is a value near the edge, not one at it.
    """
    spread = prior.astype(float).std(axis=0)
    reach = np.max(np.abs(jacobian) / width[:, None], axis=0, initial=0.0) * spread
    variances = np.diag(covariance)
    known = (variances > 0) & (np.sqrt(np.maximum(variances, 0)) < _KNOWN * spread)
    return (reach < _AT_EDGE) & ~known


def _sandwich_of(
    evaluation: Evaluation, scatter: Float[np.ndarray, "P P"], eps: float, free: Int[np.ndarray, " free"]
) -> Sandwich:
    """The sandwich of some coordinates, the others fixed."""
    block, num = np.ix_(free, free), len(scatter)
    part = evaluation._replace(
        gradient=evaluation.gradient[free],
        curvature=evaluation.curvature[block],
        curvature_noise=evaluation.curvature_noise[block],
    )
    found = sandwich(part, scatter[block], eps)
    embed = np.eye(num)[:, free]
    return Sandwich(
        embed @ found.covariance @ embed.T,
        embed @ found.inverse @ embed.T,
        embed @ found.undetermined,
        found.loss_scale,
    )


def _is_wider_than_prior(
    drawn: Float[np.ndarray, "draws entries"], known: Float[np.ndarray, "prior entries"]
) -> Bool[np.ndarray, " entries"]:
    """Which constrained parameters have a sampling distribution wider than their prior.

    A descent that ran away (a phase that vanished) ends where the divergence is all but flat: there a linearised
    standard error is finite, and huge or meaningless. Outside of the prior the two widths do not compare: what is far
    from it by its own width is known.
    """
    width, estimate = _width(drawn), np.median(drawn, axis=0)
    is_outside = (estimate < known.min(axis=0)) | (estimate > known.max(axis=0))
    return (width > _width(known)) & ~(is_outside & (np.abs(estimate - np.median(known, axis=0)) > 2 * width))


def _entries(problem: Problem, vectors: Float[np.ndarray, "draws P"]) -> Float[np.ndarray, "draws entries"]:
    """Raveled constrained parameters, with large numbers for infinite ones."""
    return np.nan_to_num(problem.parameters.table(vectors), nan=0.0, posinf=1e300, neginf=-1e300)


def _width(draws: Float[np.ndarray, "draws entries"]) -> Float[np.ndarray, " entries"]:
    """Distance of the percentiles 16 and 84."""
    return np.maximum(np.diff(np.percentile(draws, _PERCENTILES, axis=0), axis=0)[0], np.finfo(float).tiny)


def spread_of(draws: Float[np.ndarray, "draws P"]) -> Float[np.ndarray, "P"]:
    """Standard deviation of each coordinate over the finite draws; one if there is none."""
    finite = draws[np.isfinite(draws).all(axis=1)].astype(float)
    spread = finite.std(axis=0) if len(finite) > 1 else np.zeros(draws.shape[1])
    return np.where(spread > 0, spread, 1.0)
