"""Several starts, screening, basins, polishing: the least-squares fit."""

import math
from typing import NamedTuple

import numpy as np

from ._basins import Basin, group_by_basin
from ._checkpoint import Checkpoint
from ._levenberg_marquardt import (
    FAILED,
    RUNNING,
    Descent,
    LevenbergMarquardt,
    start_descent,
    step_descent,
)
from ._problem import LeastSquares, Problem
from ._progress import Progress

_SCREENING_TOLERANCE = 1e-2


class Outcome(NamedTuple):
    """The end of a fit.

    Attributes:
        best: the descent with the least loss on the whole population.
        level: the whole population, where that descent ended.
        basins: all ends, best first.
        losses: losses of each start.
        screening_iterations: how many of them belong to the screening.
    """

    best: Descent
    level: LeastSquares
    basins: list[Basin]
    losses: list[np.ndarray]
    screening_iterations: list[int]


class Driver:
    """Runs descents to their ends, with a checkpoint after each iteration.

    Args:
        settings: the limits.
        scale: typical size of each unconstrained coordinate, shape (P,).
        store: where the state goes; descents found there are taken up.
        progress: told of each iteration.
    """

    def __init__(self, settings: LevenbergMarquardt, scale: np.ndarray, store: Checkpoint, progress: Progress):
        self._settings, self._scale, self._store, self._progress = settings, scale, store, progress

    def descend(self, name: str, level: LeastSquares, position: np.ndarray, tolerance: float) -> Descent:
        """A descent from `position` to its end."""
        saved = self._store.get(name)
        descent = start_descent(position, level, self._settings) if saved is None else Descent.from_arrays(saved)
        while True:
            if saved is None:
                self._store.put(**{name: descent.to_arrays(), "costs": level.problem.costs.to_arrays()})
            saved = None
            self._progress.update(name, float(descent.losses[-1]))
            if descent.status != RUNNING:
                return descent
            descent = step_descent(descent, level, self._settings, self._scale, tolerance)


def fit_least_squares(
    problem: Problem, settings: LevenbergMarquardt, starts: np.ndarray, driver: Driver, keys: tuple, noise: float
) -> Outcome:
    """Descend from all starts on a part of the population, then from the best basins on all of it.

    Args:
        problem: what is fitted.
        settings: the limits.
        starts: unconstrained positions, shape (num_starts, P).
        driver: runs the descents.
        keys: keys of the simulated sites and of the divergence, held fixed.
        noise: `Problem.sampling_noise`.

    Raises:
        RuntimeError: if no start can be evaluated.
    """
    whole, part = problem.population.num_specimens, _screening_size(problem, settings)
    level = LeastSquares(problem, part, *keys)
    tolerance = settings.tolerance if part == whole else max(settings.tolerance, _SCREENING_TOLERANCE)
    ends = [driver.descend(f"start {i}", level, start, tolerance) for i, start in enumerate(starts)]
    floor = noise * (1 / problem.num_data + 1 / part)
    groups = group_by_basin(ends, floor)
    failed = [Basin((i,), math.nan, part, {}, FAILED) for i, end in enumerate(ends) if end.status == FAILED]
    if not groups:
        raise RuntimeError(_advice(problem, starts))
    screened = [_basin(problem, group, ends[group[0]], part) for group in groups]
    losses = [end.losses for end in ends]
    iterations = [len(row) for row in losses]
    if part == whole:
        return Outcome(ends[groups[0][0]], level, screened + failed, losses, iterations)

    limit = (math.sqrt(screened[0].loss) + math.sqrt(floor)) ** 2
    chosen = [group for group, basin in zip(groups, screened, strict=True) if basin.loss <= limit]
    chosen = chosen[: settings.max_polished]
    level = LeastSquares(problem, whole, *keys)
    polished = []
    for group in chosen:
        first = group[0]
        end = driver.descend(f"polish {first}", level, ends[first].position, settings.tolerance)
        losses[first] = np.append(losses[first], end.losses)
        polished.append(end)
    merged = group_by_basin(polished, noise * (1 / problem.num_data + 1 / whole))
    if not merged:
        raise RuntimeError(_advice(problem, np.array([ends[group[0]].position for group in chosen])))
    basins = [
        _basin(problem, [start for i in indices for start in chosen[i]], polished[indices[0]], whole)
        for indices in merged
    ]
    lost = [i for i, end in enumerate(polished) if end.status == FAILED]
    rest = [screened[i] for i in [*lost, *range(len(screened))] if i in lost or groups[i] not in chosen]
    return Outcome(polished[merged[0][0]], level, basins + rest + failed, losses, iterations)


def _screening_size(problem, settings):
    whole, chunk = problem.population.num_specimens, problem.population.chunk_size
    size = settings.num_screening or max(500, whole // 16)
    size = math.ceil(size / chunk) * chunk
    return whole if 2 * size > whole else size


def _basin(problem, starts, end, num_specimens):
    return Basin(tuple(starts), float(end.evaluation.value), num_specimens, problem.constrain(end.position), end.status)


def _advice(problem, starts):
    values = "; ".join(f"{name} = {value}" for name, value in problem.constrain(starts[0]).items())
    return (
        f"All {len(starts)} starts failed: at each of them a simulated value or its derivative is not finite. Likely"
        " causes: a prior that reaches values where the cells cannot be solved (zero or negative conductivities,"
        " extreme contrast), a transform that overflows, or data in other units than the model. Simulate one point with"
        " `Population(model, keys, ...).simulate(params, rng_key, throw=True)` to see the reason, or narrow the prior."
        f" The first start was {values}."
    )
