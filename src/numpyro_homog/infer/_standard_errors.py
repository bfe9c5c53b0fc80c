"""Standard errors of a fit, and the parameters that have none."""

from typing import NamedTuple

import numpy as np

from ._level import LeastSquares
from ._levenberg_marquardt import Descent
from ._problem import Problem, split_vector
from ._sandwich import describe_directions, sandwich

_NUM_DRAWS = 1000
_PERCENTILES = (16.0, 84.0)


class StandardErrors(NamedTuple):
    """What `MinimumDistanceResult` says of the precision of an estimate; see there."""

    standard_errors: dict[str, np.ndarray] | None = None
    covariance: np.ndarray | None = None
    unconstrained_covariance: np.ndarray | None = None
    curvature: np.ndarray | None = None
    loss_scale: float | None = None
    undetermined: tuple[str, ...] = ()


def standard_errors(problem: Problem, best: Descent, level: LeastSquares, prior: np.ndarray) -> StandardErrors:
    """Precision of an estimate.

    Args:
        problem: what was fitted.
        best: the descent that ended at the estimate.
        level: the population that it was fitted on.
        prior: draws of the prior in unconstrained space, shape (num_draws, P).
    """
    influence = level.influence(best.position)
    eps = float(np.finfo(best.position.dtype).eps)
    num_simulated = int(best.num_populations) * problem.population.num_specimens
    found = sandwich(best.evaluation, influence, num_simulated, eps)
    jacobian = problem.constrain_jacobian(best.position)
    covariance = jacobian @ found.covariance @ jacobian.T

    loose = jacobian @ found.undetermined
    flat = (np.abs(loose) > 1e-2 * np.linalg.norm(loose, axis=0)).any(axis=1)
    lost = _told_less_than_by_the_prior(problem, best.position, found.covariance, prior) & ~flat
    words = [f"{problem.labels[i]} (its prior is narrower)" for i in np.flatnonzero(lost)]
    errors = np.where(flat | lost, np.inf, np.sqrt(np.maximum(np.diag(covariance), 0)))
    return StandardErrors(
        split_vector(errors, problem.population),
        covariance,
        found.covariance,
        best.evaluation.curvature - best.evaluation.curvature_noise,
        found.loss_scale,
        (*describe_directions(loose, problem.labels), *words),
    )


def normal_draws(mean: np.ndarray, covariance: np.ndarray, num_draws: int) -> np.ndarray:
    """Draws of N(mean, covariance) by fixed numbers, shape (num_draws, P), in the precision of the mean."""
    noise = np.random.default_rng(0).standard_normal((num_draws, len(mean)))
    values, vectors = np.linalg.eigh(covariance)
    return (mean + (noise * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(mean.dtype)


def _told_less_than_by_the_prior(problem, position, covariance, prior):
    """Which constrained parameters have a sampling distribution wider than their prior, shape (num_parameters,).

    A descent that ran away (a phase that vanished, a bound that was reached) ends where the divergence is all but
    flat: there a linearised standard error is finite, and huge or meaningless.
    """
    draws = normal_draws(position, covariance, _NUM_DRAWS)
    values = problem.constrain_many(np.concatenate([draws, prior.astype(draws.dtype)]))
    columns = [values[name].reshape(len(draws) + len(prior), -1) for name in problem.population.parameters]
    table = np.nan_to_num(np.concatenate(columns, axis=1).astype(float), nan=0.0, posinf=1e300, neginf=-1e300)
    width, known = (
        np.diff(np.percentile(part, _PERCENTILES, axis=0), axis=0)[0]
        for part in (table[: len(draws)], table[len(draws) :])
    )
    # Outside of the prior the two widths do not compare: what is far from it by its own width is known.
    estimate, drawn = (np.median(part, axis=0) for part in (table[: len(draws)], table[len(draws) :]))
    is_outside = (estimate < table[len(draws) :].min(axis=0)) | (estimate > table[len(draws) :].max(axis=0))
    return (width > known) & ~(is_outside & (np.abs(estimate - drawn) > 2 * width))
