"""Descents that are told to a checkpoint and to the user."""

import math

import numpy as np

from ._checkpoint import Checkpoint
from ._level import LeastSquares
from ._levenberg_marquardt import (
    ABANDONED,
    RUNNING,
    Descent,
    LevenbergMarquardt,
    promised_fall,
    start_descent,
    step_descent,
)
from ._progress import Progress


class Driver:
    """Runs descents to their ends, with a checkpoint after each iteration.

    Args:
        settings: the limits.
        scale: typical size of each unconstrained coordinate, shape (P,).
        store: where the state goes; descents found there are taken up.
        progress: told of each iteration.
    """

    def __init__(self, settings: LevenbergMarquardt, scale: np.ndarray, store: Checkpoint, progress: Progress):
        self.settings, self.scale, self.store, self.progress = settings, scale, store, progress

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
            if settled and losses[-1] - 2 * promised_fall(descent.evaluation, self.scale) > rival:
                return True
            return len(losses) > 5 and losses[-1] - 5 * (losses[-6] - losses[-1]) > rival

        saved = self.store.get(name)
        descent = (
            start_descent(position, level, self.settings, self.scale) if saved is None else Descent.from_arrays(saved)
        )
        while True:
            if descent.status == RUNNING and has_lost(descent):
                descent = descent._replace(status=ABANDONED)
            if saved is None:
                self.store.put(**{name: descent.to_arrays(), "costs": level.problem.costs.to_arrays()})
            saved = None
            self.progress.report(name, float(descent.losses[-1]), level.num_specimens)
            if descent.status != RUNNING:
                return descent
            descent = step_descent(descent, level, self.settings, self.scale, tolerance, floor)

    def best_of(self, name: str, level: LeastSquares, draws: np.ndarray, num_best: int) -> list[np.ndarray]:
        """The draws in `num_best` groups, and the best of each group."""
        saved = self.store.get(name)
        if saved is None:
            saved = {"values": np.array([level(draw).value for draw in draws])}
            self.store.put(**{name: saved, "costs": level.problem.costs.to_arrays()})
        values = np.where(np.isfinite(saved["values"]), saved["values"], np.inf)
        return [draws[i::num_best][np.argmin(values[i::num_best])] for i in range(num_best)]
