"""Rounds of descents with the scored sites held, each on specimens of its own; the last one on those of all."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ._basins import is_same_basin
from ._driver import Driver
from ._held import Held
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

_NUM_TOGETHER, _MAX_ROUNDS = 6, 16
_REACH = 1.0  # longest step of a round in typical sizes: as far as extrapolation goes, until it is found not to
_ABOVE = 3.0  # times the least loss or the floor: what a good round may begin with; sampling alone makes as much
_TOLERANCE = 1e-4
_PATIENCE, _FALLS = 2, 0.8  # rounds without a fall of the loss below this fraction: nothing more is to come


class _Round(NamedTuple):
    """Where a round began, what it saw there, and where it ended."""

    position: np.ndarray
    begin: Evaluation
    end: np.ndarray
    status: str
    model: Held

    def to_arrays(self):
        own = {name: np.asarray(getattr(self, name)) for name in ("position", "end", "status")}
        return own | {f"begin.{name}": value for name, value in self.begin._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays, model):
        begin = Evaluation(*(arrays[f"begin.{name}"] for name in Evaluation._fields))
        return cls(arrays["position"], begin, arrays["end"], str(arrays["status"]), model)


class HeldRounds:
    """Descents on `Held`, each on a population of its own, until enough of them begin where they end.

    At another position labels flip: under common random numbers the divergence is rougher than its derivative by score
    says. The model of a round has no such roughness, and its end differs from that of the next by the noise of the
    simulation alone. The last descent, on R populations together, has the noise of all of them.

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
        """All rounds from a position, until enough of them count, or until they have lost against `rival`.

        The descent that is returned ends on all populations that count. When a round ends in the basin of one of
        `known`, as `floor` tells basins apart, that one is returned with the losses of the rounds.
        """
        rounds: list[_Round] = []
        counted: list[_Round] = []
        for found in self._walk(name, level, position, floor, rival):
            rounds.append(found)
            if found.status in (FAILED, ABANDONED):
                return self._descent(found.position, found.begin, rounds, found.status)
            for end in known:
                if is_same_basin(end, found.end, floor):
                    return end._replace(losses=_losses(rounds))
            if len(rounds) >= _NUM_TOGETHER and _has_stalled(rounds) and _losses(rounds).min() > rival:
                return self._descent(found.position, found.begin, rounds, ABANDONED)
            counted = self._good(rounds, floor)
            if len(counted) == _NUM_TOGETHER:
                break
        if len(counted) < _NUM_TOGETHER:
            return self._descent(rounds[-1].position, rounds[-1].begin, rounds, EXHAUSTED)
        return self._together(name, level, rounds, counted)

    def _together(self, name, level, rounds, counted):
        """The descent on all populations that count, from the mean of the ends."""
        position = np.mean([one.end for one in counted], axis=0).astype(counted[0].end.dtype)
        together = Held.join([one.model for one in counted])
        descent = self._to_the_end(start_descent(position, together, self._settings, self._scale), together)
        evaluation = descent.evaluation._replace(
            curvature_noise=np.mean([one.begin.curvature_noise for one in counted], axis=0) / len(counted),
            num_groups=np.sum([one.begin.num_groups for one in counted]),
        )
        level.keep(descent.position, together.influence)
        self._progress.update(f"{name} together", float(evaluation.value))
        status = CONVERGED if evaluation.is_finite else FAILED
        return self._descent(descent.position, evaluation, rounds, status, len(counted))

    def approach(self, name: str, level: LeastSquares, position: np.ndarray, floor: float) -> Descent:
        """Rounds from a position until one begins at the `floor` of the divergence, or until it falls no more.

        The descent that is returned is at the beginning of the best round.
        """
        rounds: list[_Round] = []
        status = EXHAUSTED
        for found in self._walk(name, level, position, floor):
            rounds.append(found)
            status = found.status if found.status == FAILED else EXHAUSTED
            if found.begin.value <= floor or _has_stalled(rounds):
                status = CONVERGED
                break
        best = min(rounds, key=lambda one: float(one.begin.value))
        return self._descent(best.position, best.begin, rounds, status)

    def _walk(self, name, level, position, floor, rival=math.inf):
        """Rounds, each from the end of the one before. One that begins too high is left out: its step was too long."""
        rounds: list[_Round] = []
        radius = _REACH
        for number in range(_MAX_ROUNDS):
            found = self._round(f"{name} held {number}", level, position, number, math.inf if rounds else rival)
            best = min(_losses(rounds), default=math.inf)
            if rounds and (found.status == FAILED or found.begin.value > _ABOVE * max(best, floor)):
                position, radius = rounds[-1].position + (position - rounds[-1].position) / 4, radius / 4
                continue
            rounds.append(found)
            yield found
            if found.status in (FAILED, ABANDONED):
                return
            step = found.end - found.position
            position = found.position + step * min(1.0, radius / max(self._reach(step), radius))
            radius = min(2 * radius, _REACH)

    def _good(self, rounds, floor):
        """Those that began not far above the best one, and ended within the reach of extrapolation."""
        limit = _ABOVE * max(_losses(rounds).min(), floor)
        return [one for one in rounds if one.begin.value <= limit and self._reach(one.end - one.position) <= _REACH]

    def _reach(self, step):
        return np.max(np.abs(step) / self._scale)

    def _descent(self, position, evaluation, rounds, status, num_populations=1):
        descent = start_descent(position, lambda _: evaluation, self._settings, self._scale)
        return descent._replace(losses=_losses(rounds), status=status, num_populations=np.array(num_populations))

    def _round(self, name, level, position, number, rival):
        """A round that is simulated only if the checkpoint does not know it."""
        saved, model = self._store.get(name), Held.at(level, position, number)
        if saved is not None:
            return _Round.from_arrays(saved, model)
        descent = start_descent(position, model, self._settings, self._scale)
        begin = descent.evaluation
        if descent.status == RUNNING and begin.value - 2 * promised_fall(begin, self._scale) > rival:
            descent = descent._replace(status=ABANDONED)
        descent = self._to_the_end(descent, model)
        level.problem.costs.add(level.num_specimens)
        found = _Round(position, begin, descent.position, descent.status, model)
        self._store.put(**{name: found.to_arrays(), "costs": level.problem.costs.to_arrays()})
        self._progress.update(name, float(begin.value))
        return found

    def _to_the_end(self, descent, model):
        while descent.status == RUNNING:
            descent = step_descent(descent, model, self._settings, self._scale, _TOLERANCE)
        return descent


def _has_stalled(rounds):
    values = _losses(rounds)
    return len(values) > _PATIENCE and values[-_PATIENCE:].min() > _FALLS * values[:-_PATIENCE].min()


def _losses(rounds):
    return np.array([float(one.begin.value) for one in rounds])
