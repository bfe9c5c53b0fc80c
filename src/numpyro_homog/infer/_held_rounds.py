"""Rounds of descents with the scored sites held, each on specimens of its own; their ends are averaged."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._basins import is_same_basin
from ._driver import Driver
from ._level import LeastSquares
from ._levenberg_marquardt import (
    ABANDONED,
    CONVERGED,
    EXHAUSTED,
    FAILED,
    RUNNING,
    Descent,
    Evaluation,
    promised_fall,
    start_descent,
    step_descent,
)

_NUM_AVERAGED, _MAX_ROUNDS = 6, 16
_REACH = 1.0  # longest step of a round in typical sizes: as far as extrapolation goes, until it is found not to
_ABOVE = 3.0  # times the least loss: what a round that counts may begin with; sampling alone makes as much
_TOLERANCE = 1e-4


class _Round(NamedTuple):
    """Where a round began, what it saw there, and where it ended."""

    position: np.ndarray
    begin: Evaluation
    end: np.ndarray
    status: str

    def to_arrays(self):
        own = {name: np.asarray(value) for name, value in self._asdict().items() if name != "begin"}
        return own | {f"begin.{name}": value for name, value in self.begin._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays):
        begin = Evaluation(*(arrays[f"begin.{name}"] for name in Evaluation._fields))
        return cls(arrays["position"], begin, arrays["end"], str(arrays["status"]))


class HeldRounds:
    """Descents on `LeastSquares.hold`, each on a population of its own, until enough of them begin where they end.

    At another position labels flip: under common random numbers the divergence is rougher than its derivative by score
    says. The model of a round has no such roughness, and its end differs from that of the next by the noise of the
    simulation alone. The mean of R ends has the noise of R populations.

    Args:
        driver: its settings, and where rounds are stored and told.
    """

    def __init__(self, driver: Driver):
        self._settings, self._scale = driver.settings, driver.scale
        self._store, self._progress = driver.store, driver.progress

    def run(
        self,
        name: str,
        level: LeastSquares,
        position: np.ndarray,
        rival: float = math.inf,
        known: Sequence[Descent] = (),
        floor: float = 0.0,
    ) -> Descent:
        """All rounds from a position, until their mean is known, or until they have lost against `rival`.

        The descent that is returned has the loss of the level's own population at the mean of the ends, and the mean
        curvature of the rounds. When a round ends in the basin of one of `known`, as `floor` tells basins apart, that
        one is returned with the losses of the rounds.
        """
        rounds: list[_Round] = []
        counted: list[_Round] = []
        radius = _REACH
        for number in range(_MAX_ROUNDS):
            found = self._round(f"{name} held {number}", level, position, number, math.inf if rounds else rival)
            best = min((one.begin.value for one in rounds), default=math.inf)
            if found.status in (FAILED, ABANDONED) and not rounds:
                return self._descent(found.position, found.begin, [found], found.status)
            if found.status == FAILED or found.begin.value > _ABOVE * best:
                # Extrapolation did not reach so far.
                position, radius = rounds[-1].position + (position - rounds[-1].position) / 4, radius / 4
                continue
            rounds.append(found)
            for end in known:
                if is_same_basin(end, found.end, floor):
                    return end._replace(losses=_losses(rounds))
            best = min(best, found.begin.value)
            if len(rounds) >= _NUM_AVERAGED and best > rival:
                return self._descent(found.position, found.begin, rounds, ABANDONED)
            counted = [one for one in rounds if one.begin.value <= _ABOVE * best and self._reach(one) <= _REACH]
            if len(counted) == _NUM_AVERAGED:
                break
            step = found.end - position
            position = found.position + step * min(1.0, radius / max(self._reach(found), radius))
            radius = min(2 * radius, _REACH)
        if len(counted) < _NUM_AVERAGED:
            return self._descent(rounds[-1].position, rounds[-1].begin, rounds, EXHAUSTED)
        position = np.mean([one.end for one in counted], axis=0).astype(position.dtype)
        seen = [self._evaluate(f"{name} drawn", level, position), *(one.begin for one in counted)]
        evaluation = seen[0]._replace(
            curvature=np.mean([one.curvature for one in seen], axis=0),
            curvature_noise=np.mean([one.curvature_noise for one in seen], axis=0),
            num_groups=np.sum([one.num_groups for one in seen]),
        )
        status = CONVERGED if evaluation.is_finite else FAILED
        return self._descent(position, evaluation, rounds, status, len(counted))

    def _reach(self, found):
        return np.max(np.abs(found.end - found.position) / self._scale)

    def _descent(self, position, evaluation, rounds, status, num_populations=1):
        descent = start_descent(position, lambda _: evaluation, self._settings, self._scale)
        return descent._replace(losses=_losses(rounds), status=status, num_populations=np.array(num_populations))

    def _round(self, name, level, position, number, rival):
        """A round that is simulated only if the checkpoint does not know it."""
        saved = self._store.get(name)
        if saved is not None:
            return _Round.from_arrays(saved)
        model, settings = level.hold(position, number), self._settings
        descent = start_descent(position, model, settings, self._scale)
        begin = descent.evaluation
        if descent.status == RUNNING and begin.value - 2 * promised_fall(begin, self._scale) > rival:
            descent = descent._replace(status=ABANDONED)
        while descent.status == RUNNING:
            descent = step_descent(descent, model, settings, self._scale, _TOLERANCE)
        found = _Round(position, begin, descent.position, descent.status)
        self._store.put(**{name: found.to_arrays(), "costs": level.problem.costs.to_arrays()})
        self._progress.report(name, float(begin.value), level.num_specimens)
        return found

    def _evaluate(self, name, level, position):
        saved = self._store.get(name)
        if saved is None:
            saved = level(position)._asdict()
            self._store.put(**{name: saved, "costs": level.problem.costs.to_arrays()})
        return Evaluation(**saved)


def _losses(rounds):
    return np.array([float(one.begin.value) for one in rounds])
