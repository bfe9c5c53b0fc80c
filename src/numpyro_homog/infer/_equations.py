"""Equations for the parameters, instruments times residuals = 0, solved by Newton's method under held noise."""

import math
from typing import NamedTuple

import equinox as eqx
import numpy as np

from ._level import LeastSquares, covariance_of
from ._problem import Problem, Simulated

_MAX_HALVINGS = 4


class End(NamedTuple):
    """The end of the iteration: residual (F,) and Jacobian (F, P) of the features there."""

    position: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    covariance: np.ndarray
    influences: tuple[np.ndarray, np.ndarray]
    converged: bool
    num_evaluations: int


def solve(problem, weighted, instruments, position, simulation_key, noise, tolerance, max_steps) -> End:
    """Newton steps with halving for instruments (P, F) times residual = 0, with the noise held."""

    def evaluate(position):
        residual, jacobian, influence = (
            np.asarray(part, float)
            for part in _look(weighted, simulate(problem, position, simulation_key), problem.data.cloud)
        )
        return residual, jacobian, influence @ instruments.T

    residual, jacobian, inner = evaluate(position)
    metric = np.linalg.inv(covariance_of(inner))
    merit, num_evaluations, halvings = _square(instruments @ residual, metric), 1, 0
    while True:
        inverse = np.linalg.inv(instruments @ jacobian)
        covariance = inverse @ covariance_of(inner) @ inverse.T * noise
        full = -inverse @ (instruments @ residual)
        length = math.sqrt(_square(full, np.linalg.inv(covariance)))
        stuck = halvings > _MAX_HALVINGS
        converged = length < tolerance or (stuck and length < 3 * tolerance)
        if converged or stuck or num_evaluations > max_steps:
            break
        step = full / 2**halvings
        trial = evaluate((position + step).astype(position.dtype))
        num_evaluations += 1
        found = _square(instruments @ trial[0], metric) if all(np.isfinite(part).all() for part in trial) else np.inf
        if found < merit:
            position, merit, halvings = (position + step).astype(position.dtype), found, 0
            residual, jacobian, inner = trial
        else:
            halvings += 1
    if converged:
        # What is left is within the linear range; it costs nothing.
        position, residual = (position + full).astype(position.dtype), residual + jacobian @ full
    pull = instruments.T @ inverse.T
    of_measured = np.asarray(_influence(weighted, problem.data.cloud), float) @ pull
    influences = (of_measured, -inner @ inverse.T)
    return End(position, residual, jacobian, covariance, influences, converged, num_evaluations)


def simulate(problem: Problem, position: np.ndarray, key) -> Simulated:
    """The population at an unconstrained position, with its derivatives."""
    level = LeastSquares(problem, problem.population.num_specimens, key, key)
    simulated = level._simulate(position)
    problem.costs.add(level.num_specimens)
    return simulated


@eqx.filter_jit
def _look(weighted, simulated, measured):
    cloud, tangents, scores = simulated
    residual = weighted.features(cloud) - weighted.features(measured)
    return residual, weighted.feature_jacobian(cloud, tangents, scores), weighted.feature_influence(cloud, cloud)


@eqx.filter_jit
def _influence(weighted, cloud):
    return weighted.feature_influence(cloud, cloud)


def _square(vector, metric):
    return float(vector @ metric @ vector)
