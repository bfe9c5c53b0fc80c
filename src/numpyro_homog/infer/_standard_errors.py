"""Standard errors of a fit, and the parameters that have none."""

import math
from typing import NamedTuple

import numpy as np

from ..optimise import Descent, Evaluation
from ._divergence_objective import DivergenceObjective, covariance_of
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


def num_fresh(num_simulated: int) -> int:
    """Number of specimens that a fit simulates for its standard errors alone.

    With those of the fit 10,000, but at most one and a half times as many as those.
    """
    return max(0, min(_ENOUGH - num_simulated, math.ceil(_MOST_FRESH * num_simulated)))


def standard_errors(
    problem: Problem, best: Descent, objective: DivergenceObjective, prior: np.ndarray, num_fresh: int = 0
) -> StandardErrors:
    """Precision of an estimate.

    Args:
        problem: what was fitted.
        best: the descent that ended at the estimate.
        objective: on the population that it was fitted on.
        prior: draws of the prior in unconstrained space, shape (num_draws, P).
        num_fresh: number of specimens to simulate besides.
    """
    evaluation, of_measured, of_simulated = objective.influences(best.position, num_fresh)
    if best.num_populations > 1:
        evaluation = best.evaluation  # the mean over the populations of its rounds
    num_simulated = int(best.num_populations) * problem.simulator.num_specimens
    scatter = covariance_of(of_measured) / len(of_measured) + covariance_of(of_simulated) / num_simulated
    eps, labels = float(np.finfo(best.position.dtype).eps), problem.parameters.labels
    jacobian = problem.parameters.jacobian(best.position)
    known = _entries(problem, prior)
    found = sandwich(evaluation, scatter, eps)
    held = _held_at_edge(jacobian, found.covariance, prior, _width(known))
    if held.any():
        found = _sandwich_of(evaluation, scatter, eps, np.flatnonzero(~held))
    covariance = jacobian @ found.covariance @ jacobian.T

    loose = jacobian @ found.undetermined
    flat = (np.abs(loose) > 1e-2 * np.linalg.norm(loose, axis=0)).any(axis=1)
    # At most one parameter for each coordinate: the first of those that it moves most, in units of the prior.
    edge = np.zeros(len(jacobian), bool)
    edge[np.argmax(np.abs(jacobian) / _width(known)[:, None], axis=0)[held]] = True
    drawn = _entries(problem, normal_draws(best.position, found.covariance, _NUM_DRAWS))
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
        (*describe_directions(loose, labels), *words),
        tuple(labels[i] for i in np.flatnonzero(edge)),
        # Mass that moves to a simulated specimen pulls the other way than to a measured one.
        (of_measured @ found.inverse, of_simulated @ found.inverse * -math.sqrt(len(of_simulated) / num_simulated)),
    )


class Sandwich(NamedTuple):
    """Covariance of the estimate in unconstrained space.

    Attributes:
        covariance: H^-1 V H^-1 on the determined directions, shape (P, P).
        inverse: H^-1 on the determined directions, shape (P, P).
        undetermined: orthonormal directions that the data do not determine, shape (P, num).
        loss_scale: weight of the divergence in a Gibbs posterior of that size.
    """

    covariance: np.ndarray
    inverse: np.ndarray
    undetermined: np.ndarray
    loss_scale: float


def sandwich(evaluation: Evaluation, scatter: np.ndarray, eps: float) -> Sandwich:
    """Sandwich covariance with the noise of data and simulation.

    With D the divergence, H = mean(J J') its smooth Gauss-Newton curvature (the simulation noise taken off), V the
    covariance of the gradient: near the truth the estimate moves by H^-1 times the noise of the gradient. With S the
    covariance of the influence of one specimen on the gradient, N measured and M simulated specimens make
    V = S_data / N + S_simulated / M, and if the model is right

        cov = H^-1 S H^-1 (1/N + 1/M) = H^-1 (S / N) H^-1 (1 + N/M).

    A direction v is undetermined if v'Hv, with each parameter scaled to curvature one, is below rounding, or within
    three standard deviations of what simulation noise makes of zero.

    The loss scale: exp(-w D) has covariance (2 w H)^-1 about its mode. w = P / (2 tr(H cov)) makes the two agree in
    the trace weighted by H (the magnitude adjustment), which does not depend on how parameters are written.

    Args:
        evaluation: linearisation at the estimate.
        scatter: covariance V of the gradient, shape (P, P).
        eps: precision of the arithmetic that made them.

    References:
        Godambe, Ann. Math. Stat. 31 (1960); Gourieroux, Monfort and Renault, J. Appl. Econom. 8 (1993), for 1 + N/M;
        Pauli, Racugno and Ventura, Stat. Sinica 21 (2011), for the magnitude adjustment.
    """
    raw = np.diag(evaluation.curvature)
    effective = raw > 1e-24 * raw.max(initial=0.0)
    weight = np.sqrt(np.where(effective, raw, 1.0))
    curvature = (evaluation.curvature - evaluation.curvature_noise) / weight / weight[:, None]
    curvature[~effective] = curvature[:, ~effective] = 0.0
    noise = evaluation.curvature_noise / weight / weight[:, None]

    values, vectors = np.linalg.eigh(curvature)
    noise_level = np.einsum("ij,ik,kj->j", vectors, noise, vectors) * np.sqrt(2 / float(evaluation.num_groups))
    determined = values > np.maximum(3 * noise_level, eps ** (2 / 3))
    basis = vectors[:, determined]
    inverse = (basis / values[determined]) @ basis.T
    scaled = scatter / weight / weight[:, None]
    covariance = inverse @ scaled @ inverse / weight / weight[:, None]
    undetermined = vectors[:, ~determined] / weight[:, None]
    undetermined /= np.linalg.norm(undetermined, axis=0)
    trace = np.trace(inverse @ scaled)
    loss_scale = float(determined.sum() / (2 * trace)) if trace > 0 else float("nan")
    return Sandwich(covariance, inverse / weight / weight[:, None], undetermined, loss_scale)


def describe_directions(directions: np.ndarray, labels: list[str]) -> tuple[str, ...]:
    """Directions of parameter space in words: "0.71 kappa[0] - 0.71 kappa[1]"; small parts are left out.

    Args:
        directions: one direction a column, shape (num_parameters, num).
        labels: name of each parameter.
    """
    described = []
    for direction in directions.T:
        direction = direction / np.linalg.norm(direction)
        order = np.flatnonzero(np.abs(direction) > 0.05)
        direction = direction * np.sign(direction[order[0]])
        parts = [f"{'-' if direction[i] < 0 else '+'} {abs(direction[i]):.2f} {labels[i]}" for i in order]
        if len(order) == 1:
            parts = [labels[order[0]]]
        described.append(" ".join(parts).removeprefix("+ "))
    return tuple(described)


def normal_draws(mean: np.ndarray, covariance: np.ndarray, num_draws: int) -> np.ndarray:
    """Draws of N(mean, covariance) by fixed numbers, shape (num_draws, P), in the precision of the mean."""
    noise = np.random.default_rng(0).standard_normal((num_draws, len(mean)))
    values, vectors = np.linalg.eigh(covariance)
    return (mean + (noise * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(mean.dtype)


def _held_at_edge(jacobian, covariance, prior, width):
    """Which coordinates of unconstrained space have run to an edge of the support, shape (P,).

    There no step of the size of the prior moves any parameter by a hundredth of the width of its prior. If the data
    tell the coordinate all the same, it is a value near the edge, not one at it.
    """
    spread = prior.astype(float).std(axis=0)
    reach = np.max(np.abs(jacobian) / width[:, None], axis=0, initial=0.0) * spread
    variances = np.diag(covariance)
    known = (variances > 0) & (np.sqrt(np.maximum(variances, 0)) < _KNOWN * spread)
    return (reach < _AT_EDGE) & ~known


def _sandwich_of(evaluation, scatter, eps, free):
    """The sandwich of some coordinates, the others held."""
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


def _is_wider_than_prior(drawn, known):
    """Which constrained parameters have a sampling distribution wider than their prior, shape (num_parameters,).

    A descent that ran away (a phase that vanished) ends where the divergence is all but flat: there a linearised
    standard error is finite, and huge or meaningless. Outside of the prior the two widths do not compare: what is far
    from it by its own width is known.
    """
    width, estimate = _width(drawn), np.median(drawn, axis=0)
    is_outside = (estimate < known.min(axis=0)) | (estimate > known.max(axis=0))
    return (width > _width(known)) & ~(is_outside & (np.abs(estimate - np.median(known, axis=0)) > 2 * width))


def _entries(problem, vectors):
    """Raveled constrained parameters, shape (num_draws, num_entries), with large numbers for infinite ones."""
    return np.nan_to_num(problem.parameters.table(vectors), nan=0.0, posinf=1e300, neginf=-1e300)


def _width(draws):
    """Distance of the percentiles 16 and 84, shape (num_parameters,)."""
    return np.maximum(np.diff(np.percentile(draws, _PERCENTILES, axis=0), axis=0)[0], np.finfo(float).tiny)


def spread_of(draws: np.ndarray) -> np.ndarray:
    """Standard deviation of each coordinate over the finite draws, (num, P) to (P,); one if there is none."""
    finite = draws[np.isfinite(draws).all(axis=1)].astype(float)
    spread = finite.std(axis=0) if len(finite) > 1 else np.zeros(draws.shape[1])
    return np.where(spread > 0, spread, 1.0)
