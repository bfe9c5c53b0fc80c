"""Descents that are told to a checkpoint and to the user."""

import math

import numpy as np

from ._checkpoint import Checkpoint
from ._levenberg_marquardt import (
    ABANDONED,
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
from ._problem import LeastSquares
from ._progress import Progress

_MAX_HOLDS, _STILL = 4, 1e-2


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

    def descend_held(
        self, name: str, level: LeastSquares, position: np.ndarray, tolerance: float, rival: float
    ) -> Descent:
        """A descent from about a minimum with scored sites held, then held anew where it ended, until that is near.

        Under common random numbers alone labels flip, and the divergence is rougher than its derivative by score says.
        """
        losses, tolerance = np.zeros(0), max(tolerance, _STILL)
        for number in range(_MAX_HOLDS):
            held = level.hold(position)
            end = self.descend(f"{name} held {number}", held, position, tolerance, rival=rival, settled=True)
            losses, position = np.append(losses, end.losses), end.position
            if end.status in (FAILED, ABANDONED):
                return end._replace(losses=losses)
            if is_near := end.losses[0] - end.losses[-1] <= _STILL * end.losses[-1]:
                break
        # Weights one: the end as any other level has it.
        evaluation = self._evaluate(f"{name} drawn", level, position)
        return end._replace(evaluation=evaluation, losses=losses, status=end.status if is_near else EXHAUSTED)

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
