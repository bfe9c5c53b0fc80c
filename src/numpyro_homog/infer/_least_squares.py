"""Several starts, screening, basins, polishing: the least-squares fit."""

import math
from typing import NamedTuple

import numpy as np

from ._basins import Basin, group_by_basin
from ._checkpoint import Checkpoint
from ._levenberg_marquardt import (
    ABANDONED,
    FAILED,
    RUNNING,
    Descent,
    LevenbergMarquardt,
    promised_fall,
    start_descent,
    step_descent,
)
from ._problem import LeastSquares, Problem
from ._progress import Progress

_SCREENING_TOLERANCE = 1e-2
_SCOUTING_TOLERANCE = 1e-3
_DRAWS_PER_START = 4
_CLOSE = 4.0


class Outcome(NamedTuple):
    """The end of a fit.

    Attributes:
        best: the descent with the least loss on the whole population.
        level: the whole population, where that descent ended; None for divergences that are no sums of squares.
        basins: all ends, best first.
        losses: losses of each start.
        screening_iterations: how many of them belong to the screening.
    """

    best: Descent
    level: LeastSquares | None
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

    def descend(
        self,
        name: str,
        level: LeastSquares,
        position: np.ndarray,
        tolerance: float,
        *,
        floor: float = 0.0,
        rival: float = math.inf,
        settled: bool = False,
    ) -> Descent:
        """A descent from `position` to its end, until its divergence is below `floor`, or until it has lost.

        It has lost when five times the fall of the last five iterations would not bring it below `rival`; if `settled`
        (the position is a minimum on fewer specimens), when twice the fall that its Newton step promises would not.
        """

        def has_lost(descent):
            losses = descent.losses
            if settled and losses[-1] - 2 * promised_fall(descent.evaluation, self._scale) > rival:
                return True
            return len(losses) > 5 and losses[-1] - 5 * (losses[-6] - losses[-1]) > rival

        saved = self._store.get(name)
        descent = (
            start_descent(position, level, self._settings, self._scale) if saved is None else Descent.from_arrays(saved)
        )
        while True:
            if descent.status == RUNNING and has_lost(descent):
                descent = descent._replace(status=ABANDONED)
            if saved is None:
                self._store.put(**{name: descent.to_arrays(), "costs": level.problem.costs.to_arrays()})
            saved = None
            self._progress.update(name, float(descent.losses[-1]))
            if descent.status != RUNNING:
                return descent
            descent = step_descent(descent, level, self._settings, self._scale, tolerance, floor)

    def best_of(self, level: LeastSquares, draws: np.ndarray, num_starts: int) -> list[np.ndarray]:
        """The best of each four draws."""
        draws = draws[: num_starts * _DRAWS_PER_START]
        saved = self._store.get("draws")
        if saved is None:
            values = np.array([level(draw).value for draw in draws])
            saved = {"values": values}
            self._store.put(draws=saved, costs=level.problem.costs.to_arrays())
        values = np.where(np.isfinite(saved["values"]), saved["values"], np.inf)
        return [draws[i::num_starts][np.argmin(values[i::num_starts])] for i in range(num_starts)]


def fit_least_squares(
    problem: Problem,
    settings: LevenbergMarquardt,
    starts: np.ndarray,
    num_starts: int,
    driver: Driver,
    keys: tuple,
    noise: float,
) -> Outcome:
    """Descend from all starts on a part of the population, then from the best basins on all of it.

    Args:
        problem: what is fitted.
        settings: the limits.
        starts: unconstrained positions, shape (num, P), at least `num_starts`. With scouting, the best of four is one
            start.
        num_starts: number of descents.
        driver: runs the descents.
        keys: keys of the simulated sites and of the divergence, held fixed.
        noise: `Problem.sampling_noise`.

    Raises:
        RuntimeError: if no start can be evaluated.
    """
    whole, part = problem.population.num_specimens, _screening_size(problem, settings)
    level = LeastSquares(problem, part, *keys)
    tolerance = settings.tolerance if part == whole else max(settings.tolerance, _SCREENING_TOLERANCE)
    losses = [np.zeros(0)] * num_starts
    positions = list(starts[:num_starts])
    if part >= 4 * settings.num_scouting:
        few = LeastSquares(problem, settings.num_scouting, *keys)
        positions = driver.best_of(few, starts, num_starts)
        close = _CLOSE * noise * (1 / problem.num_data + 1 / settings.num_scouting)
        scouts = [
            driver.descend(f"scout {i}", few, x, _SCOUTING_TOLERANCE, floor=close) for i, x in enumerate(positions)
        ]
        # A scout that failed keeps its start, which fails again on the larger part, or not.
        positions, losses = [scout.position for scout in scouts], [scout.losses for scout in scouts]
    floor = noise * (1 / problem.num_data + 1 / part)
    ends: list[Descent] = []
    for i, position in enumerate(positions):
        ends.append(driver.descend(f"start {i}", level, position, tolerance, rival=_rival(ends, floor)))
    groups = group_by_basin(ends, floor)
    failed = [Basin((i,), math.nan, part, {}, FAILED) for i, end in enumerate(ends) if end.status == FAILED]
    if not groups:
        raise RuntimeError(_advice(problem, np.array(positions)))
    screened = [_basin(problem, group, ends[group[0]], part) for group in groups]
    losses = [np.append(before, end.losses) for before, end in zip(losses, ends, strict=True)]
    iterations = [len(row) for row in losses]
    if part == whole:
        return Outcome(ends[groups[0][0]], level, screened + failed, losses, iterations)

    limit = _rival(ends, floor)
    chosen = [group for group, basin in zip(groups, screened, strict=True) if basin.loss <= limit]
    chosen = chosen[: settings.max_polished]
    level = LeastSquares(problem, whole, *keys)
    floor = noise * (1 / problem.num_data + 1 / whole)
    polished: list[Descent] = []
    for group in chosen:
        first = group[0]
        end = driver.descend(
            f"polish {first}",
            level,
            ends[first].position,
            settings.tolerance,
            rival=_rival(polished, floor),
            settled=True,
        )
        losses[first] = np.append(losses[first], end.losses)
        polished.append(end)
    merged = group_by_basin(polished, floor)
    if not merged:
        raise RuntimeError(_advice(problem, np.array([ends[group[0]].position for group in chosen])))
    basins = [
        _basin(problem, [start for i in indices for start in chosen[i]], polished[indices[0]], whole)
        for indices in merged
    ]
    lost = [i for i, end in enumerate(polished) if end.status == FAILED]
    rest = [screened[i] for i in [*lost, *range(len(screened))] if i in lost or groups[i] not in chosen]
    return Outcome(polished[merged[0][0]], level, basins + rest + failed, losses, iterations)


def _rival(ends, floor):
    """Loss that sampling noise can still make of the best end; infinite if there is none yet."""
    best = min((float(end.evaluation.value) for end in ends if end.status != FAILED), default=math.inf)
    return best + math.sqrt(floor * max(floor, best)) if math.isfinite(best) else best


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
