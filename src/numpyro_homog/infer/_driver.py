"""Descents that are told to a checkpoint and to the user."""

import math

import numpy as np

from ._checkpoint import Checkpoint
from ._level import LeastSquares
from ._levenberg_marquardt import (
    ABANDONED,
    CONVERGED,
    EXHAUSTED,
    FAILED,
    RUNNING,
    Descent,
    Evaluation,
    LevenbergMarquardt,
    promised_fall,
    start_descent,
    step_descent,
)
from ._progress import Progress

_MAX_HOLDS, _HELD_TOLERANCE = 10, 1e-4
_STILL = 5e-3  # fall of the divergence in a round that ends the rounds
_REACH = 0.3  # longest step of a round in typical sizes: as far as derivatives go, until they are found not to
_WORSE = 1.3  # rise from round to round that is no noise


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

    def descend_held(self, name: str, level: LeastSquares, position: np.ndarray, rival: float) -> Descent:
        """Descents on `LeastSquares.hold`, each held where the last one ended, until that is near.

        Under common random numbers alone labels flip, and the divergence is rougher than its derivative by score says.
        """
        losses, best, radius, dtype = np.zeros(0), (math.inf, position), _REACH, position.dtype
        is_near = is_lost = False
        for number in range(_MAX_HOLDS):
            end = self._descend_once(f"{name} held {number}", level, position.astype(dtype), rival)
            losses = np.append(losses, end.losses)
            if number > 0 and not end.losses[0] <= _WORSE * best[0]:
                # The derivative did not reach so far.
                radius, position = radius / 4, best[1] + (position - best[1]) / 4
                continue
            if end.status in (FAILED, ABANDONED):
                return end._replace(losses=losses)
            best = min(best, (float(end.losses[0]), position), key=lambda pair: pair[0])
            if is_lost := number >= _MAX_HOLDS // 2 and best[0] > rival:
                break
            step = end.position - position
            reach = np.max(np.abs(step) / self._scale)
            position = position + step * min(1.0, radius / max(reach, radius))
            if is_near := reach <= radius and end.losses[0] - end.losses[-1] <= _STILL * end.losses[-1]:
                break
            radius = min(2 * radius, _REACH)
        else:
            is_near = reach <= radius
            position = best[1]
        position = position.astype(dtype)
        evaluation = self._evaluate(f"{name} drawn", level, position)
        status = ABANDONED if is_lost else CONVERGED if is_near else EXHAUSTED
        return end._replace(position=position, evaluation=evaluation, losses=losses, status=status)

    def _descend_once(self, name, level, position, rival):
        """A descent on a model that is made only if the checkpoint does not know the end."""
        saved = self._store.get(name)
        if saved is not None:
            return Descent.from_arrays(saved)
        held, settings = level.hold(position), self._settings
        end = start_descent(position, held, settings, self._scale)
        if end.status == RUNNING and end.losses[0] - 2 * promised_fall(end.evaluation, self._scale) > rival:
            end = end._replace(status=ABANDONED)
        while end.status == RUNNING:
            end = step_descent(end, held, settings, self._scale, _HELD_TOLERANCE)
        self._store.put(**{name: end.to_arrays(), "costs": level.problem.costs.to_arrays()})
        self._progress.update(name, float(end.losses[0]))
        return end

    def _evaluate(self, name, level, position):
        saved = self._store.get(name)
        if saved is None:
            saved = level(position)._asdict()
            self._store.put(**{name: saved, "costs": level.problem.costs.to_arrays()})
        return Evaluation(**saved)

    def best_of(self, name: str, level: LeastSquares, draws: np.ndarray, num_best: int) -> list[np.ndarray]:
        """The draws in `num_best` groups, and the best of each group."""
        saved = self._store.get(name)
        if saved is None:
            saved = {"values": np.array([level(draw).value for draw in draws])}
            self._store.put(**{name: saved, "costs": level.problem.costs.to_arrays()})
        values = np.where(np.isfinite(saved["values"]), saved["values"], np.inf)
        return [draws[i::num_best][np.argmin(values[i::num_best])] for i in range(num_best)]
