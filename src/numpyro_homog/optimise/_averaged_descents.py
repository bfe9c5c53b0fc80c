"""Descents on local models, each on specimens of its own; their ends are averaged."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ._basins import is_same_basin
from ._descents import Descents
from ._levenberg_marquardt import (
    ABANDONED,
    CONVERGED,
    EXHAUSTED,
    FAILED,
    RUNNING,
    Descent,
    promised_fall,
    start_descent,
    step_descent,
)
from ._objective import AbstractObjective, Evaluation

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

    def to_arrays(self) -> dict[str, np.ndarray]:
        own = {name: np.asarray(value) for name, value in self._asdict().items() if name != "begin"}
        return own | {f"begin.{name}": value for name, value in self.begin._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "_Round":
        begin = Evaluation(*(arrays[f"begin.{name}"] for name in Evaluation._fields))
        return cls(arrays["position"], begin, arrays["end"], str(arrays["status"]))


def average_descents(
    descents: Descents,
    name: str,
    objective: AbstractObjective,
    position: Float[np.ndarray, "P"],
    bound: float = math.inf,
    known: Sequence[Descent] = (),
) -> Descent:
    """Descents on `AbstractObjective.local_model`, until enough of them begin where they end.

    Away from a position draws flip: under common random numbers an objective is rougher than its derivative by score
    says. The model of a round has no such roughness, and its end differs from that of the next by the noise of the
    simulation alone. The mean of R ends has the noise of R populations.

    Args:
        descents: settings, and where rounds are saved and shown.
        name: of the rounds.
        objective: what is minimised; it has local models.
        position: where the first round begins.
        bound: the rounds are given up if they have no prospect of coming below.
        known: ends of other such rounds. When a round ends in the basin of one of them, that one is returned with the
            losses of the rounds.

    Returns:
        The objective's own value at the mean of the ends, with the mean curvature of the rounds.
    """
    settings, scale = descents.settings, descents.scale

    def reach(found):
        return np.max(np.abs(found.end - found.position) / scale)

    def ended(position, evaluation, rounds, status, num_populations=1):
        descent = start_descent(position, lambda _: evaluation, settings, scale)
        return descent._replace(losses=_losses(rounds), status=status, num_populations=np.array(num_populations))

    rounds: list[_Round] = []
    counted: list[_Round] = []
    radius = _REACH
    for number in range(_MAX_ROUNDS):
        found = _run_round(descents, name, objective, position, number, math.inf if rounds else bound)
        best = min((one.begin.value for one in rounds), default=math.inf)
        if found.status in (FAILED, ABANDONED) and not rounds:
            return ended(found.position, found.begin, [found], found.status)
        if found.status == FAILED or found.begin.value > _ABOVE * best:
            # Extrapolation did not reach so far.
            position, radius = rounds[-1].position + (position - rounds[-1].position) / 4, radius / 4
            continue
        rounds.append(found)
        for end in known:
            if is_same_basin(end, found.end, objective.floor):
                return end._replace(losses=_losses(rounds))
        best = min(best, found.begin.value)
        if len(rounds) >= _NUM_AVERAGED and best > bound:
            return ended(found.position, found.begin, rounds, ABANDONED)
        counted = [one for one in rounds if one.begin.value <= _ABOVE * best and reach(one) <= _REACH]
        if len(counted) == _NUM_AVERAGED:
            break
        step = found.end - position
        position = found.position + step * min(1.0, radius / max(reach(found), radius))
        radius = min(2 * radius, _REACH)
    if len(counted) < _NUM_AVERAGED:
        return ended(rounds[-1].position, rounds[-1].begin, rounds, EXHAUSTED)
    position = np.mean([one.end for one in counted], axis=0).astype(position.dtype)
    saved = descents.recorder.once(f"{name} mean", lambda: objective(position)._asdict())
    seen = [Evaluation(**saved), *(one.begin for one in counted)]
    evaluation = seen[0]._replace(
        curvature=np.mean([one.curvature for one in seen], axis=0),
        curvature_noise=np.mean([one.curvature_noise for one in seen], axis=0),
        num_groups=np.sum([one.num_groups for one in seen]),
    )
    status = CONVERGED if evaluation.is_finite else FAILED
    return ended(position, evaluation, rounds, status, len(counted))


def _run_round(
    descents: Descents, name: str, objective: AbstractObjective, position: np.ndarray, number: int, bound: float
) -> _Round:
    """A round that is simulated only if the checkpoint does not know it."""
    name = f"{name} round {number}"
    saved = descents.recorder.get(name)
    if saved is not None:
        return _Round.from_arrays(saved)
    model, settings, scale = objective.local_model(position, number), descents.settings, descents.scale
    descent = start_descent(position, model, settings, scale)
    begin = descent.evaluation
    if descent.status == RUNNING and begin.value - 2 * promised_fall(begin, scale) > bound:
        descent = descent._replace(status=ABANDONED)
    while descent.status == RUNNING:
        descent = step_descent(descent, model, settings, scale, _TOLERANCE)
    found = _Round(position, begin, descent.position, descent.status)
    descents.recorder.put(name, found.to_arrays())
    descents.recorder.progress.report(name, float(begin.value), objective.num_specimens)
    return found


def _losses(rounds: Sequence[_Round]) -> Float[np.ndarray, " rounds"]:
    return np.array([float(one.begin.value) for one in rounds])
