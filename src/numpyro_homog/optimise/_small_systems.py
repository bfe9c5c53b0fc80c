"""Equations and least squares in a few unknowns, on the host."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

_MAX_HALVINGS = 4


class Equations(NamedTuple):
    """Values of P equations, their derivative, covariance of their noise, and details."""

    values: Float[np.ndarray, "P"]
    jacobian: Float[np.ndarray, "P P"]
    covariance: Float[np.ndarray, "P P"]
    details: Any


class Root(NamedTuple):
    """Where Newton's method ended, the equations at its last evaluation, the step from there, and their covariance."""

    position: np.ndarray
    equations: Equations
    step: np.ndarray
    covariance: np.ndarray
    converged: bool
    num_evaluations: int


def find_root(
    evaluate: Callable[[np.ndarray], Equations], position: Float[np.ndarray, "P"], tolerance: float, max_steps: int
) -> Root:
    """Newton's method with halved steps, for equations that noise makes rough.

    It ends when a step is shorter than `tolerance` standard errors of the root, or than three times that and none of
    its halves solves the equations better. The step that is left is then taken without an evaluation.

    Args:
        evaluate: function from a position, shape (P,), to the equations there.
        position: where it begins.
        tolerance: in standard errors.
        max_steps: most evaluations but for the first.
    """

    def square(vector, metric):
        return float(vector @ metric @ vector)

    found, num_evaluations, halvings = evaluate(position), 1, 0
    metric = np.linalg.inv(found.covariance)
    merit = square(found.values, metric)
    while True:
        inverse = np.linalg.inv(found.jacobian)
        covariance = inverse @ found.covariance @ inverse.T
        full = -inverse @ found.values
        length = math.sqrt(square(full, np.linalg.inv(covariance)))
        is_stuck = halvings > _MAX_HALVINGS
        converged = length < tolerance or (is_stuck and length < 3 * tolerance)
        if converged or is_stuck or num_evaluations > max_steps:
            break
        end = (position + full / 2**halvings).astype(position.dtype)
        trial = evaluate(end)
        num_evaluations += 1
        is_finite = all(np.isfinite(part).all() for part in trial[:3])
        if is_finite and (there := square(trial.values, metric)) < merit:
            position, found, merit, halvings = end, trial, there, 0
        else:
            halvings += 1
    step = full if converged else np.zeros_like(full)
    return Root((position + step).astype(position.dtype), found, step, covariance, converged, num_evaluations)


def least_points(
    residuals_fn: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    starts: Float[np.ndarray, "batch P"],
    weight: Float[np.ndarray, "P"],
    num_steps: int,
) -> Float[np.ndarray, "batch P"]:
    """Levenberg-Marquardt for many small problems at once.

    Args:
        residuals_fn: function of all positions to their residuals, (batch, F), and Jacobians, (batch, F, P).
        starts: where each begins.
        weight: diagonal of the damping.
        num_steps: number of trial points.
    """
    vectors, (now, jacobian) = starts, residuals_fn(starts)
    damping = np.full(len(starts), 1e-3)
    for _ in range(num_steps):
        damped = np.swapaxes(jacobian, 1, 2) @ jacobian + damping[:, None, None] * np.diag(weight)
        trial = vectors - np.linalg.solve(damped, np.einsum("bij,bi->bj", jacobian, now)[..., None])[..., 0]
        there, its_jacobian = residuals_fn(trial)
        better = np.sum(there**2, axis=1) < np.sum(now**2, axis=1)
        vectors, now = (np.where(better[:, None], new, old) for new, old in ((trial, vectors), (there, now)))
        jacobian = np.where(better[:, None, None], its_jacobian, jacobian)
        damping = np.where(better, np.maximum(damping / 10, 1e-12), damping * 10)
    return vectors
