"""Levenberg-Marquardt descents to their ends, recorded after each iteration."""

import math

import numpy as np
from jaxtyping import Float

from ._levenberg_marquardt import (
    ABANDONED,
    RUNNING,
    Descent,
    LevenbergMarquardt,
    promised_fall,
    start_descent,
    step_descent,
)
from ._objective import AbstractObjective
from ._recorder import Recorder


class Descents:
    """Runs descents.

    Args:
        settings: the limits.
        scale: typical size of each unconstrained coordinate, shape (P,).
        recorder: where they are saved and shown; those found there are taken up.
    """

    def __init__(self, settings: LevenbergMarquardt, scale: Float[np.ndarray, "P"], recorder: Recorder):
        self.settings, self.scale, self.recorder = settings, scale, recorder

    def run(
        self,
        name: str,
        objective: AbstractObjective,
        position: Float[np.ndarray, "P"],
        tolerance: float,
        *,
        floor: float = 0.0,
        bound: float = math.inf,
        is_settled: bool = False,
    ) -> Descent:
        """A descent from `position` to its end, until its value is below `floor`, or abandoned as hopeless.

        It is abandoned when five times the fall of the last five iterations would not bring it below `bound`; if
        `is_settled` (the position is a minimum on fewer specimens), when twice the fall that its Newton step promises
        would not.
        """

        def is_hopeless(descent):
            losses = descent.losses
            if is_settled and losses[-1] - 2 * promised_fall(descent.evaluation, self.scale) > bound:
                return True
            return len(losses) > 5 and losses[-1] - 5 * (losses[-6] - losses[-1]) > bound

        saved = self.recorder.get(name)
        if saved is not None:
            descent = Descent.from_arrays(saved)
        else:
            descent = start_descent(position, objective, self.settings, self.scale)
        while True:
            if descent.status == RUNNING and is_hopeless(descent):
                descent = descent._replace(status=ABANDONED)
            if saved is None:
                self.recorder.put(name, descent.to_arrays())
            saved = None
            self.recorder.progress.report(name, float(descent.losses[-1]), objective.num_specimens)
            if descent.status != RUNNING:
                return descent
            descent = step_descent(descent, objective, self.settings, self.scale, tolerance, floor)

    def best_of(
        self, name: str, objective: AbstractObjective, draws: Float[np.ndarray, "draws P"], num_best: int
    ) -> list[np.ndarray]:
        """The draws in `num_best` groups, and the best of each group."""
        saved = self.recorder.once(name, lambda: {"values": np.array([objective(draw).value for draw in draws])})
        values = np.where(np.isfinite(saved["values"]), saved["values"], np.inf)
        return [draws[i::num_best][np.argmin(values[i::num_best])] for i in range(num_best)]
