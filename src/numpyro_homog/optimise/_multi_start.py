"""Several starts, screening, basins, polishing."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ._averaged_descents import average_descents
from ._basins import Basin, group_by_basin, is_same_basin
from ._descents import Descents
from ._levenberg_marquardt import ABANDONED, CONVERGED, EXHAUSTED, FAILED, Descent
from ._objective import AbstractObjective

DRAWS_PER_START = 4
_SCREENING_TOLERANCE, _SCOUTING_TOLERANCE = 1e-2, 1e-3
_CLOSE = 4.0
# Of 65 fits of right models to 1000 and 10,000 specimens nine tenths ended below 1.5 noise floors, and all below 2.2.
_USUAL_NOISE = 1.5
MOST_NOISE = 3.0
# In units of the sampling noise of one specimen: 60 measured and 60 simulated specimens would show such a misfit.
_HOPELESS = MOST_NOISE / 60
_AGREED, _NUM_AGREED = 0.8, 3


class Outcome(NamedTuple):
    """The end of an optimisation.

    Attributes:
        best: the end with the least loss on the finest objective.
        basins: all ends, best first.
        losses: losses of each start.
        screening_iterations: how many of them belong to the screening.
    """

    best: Descent
    basins: list[Basin]
    losses: list[np.ndarray]
    screening_iterations: list[int]


class MultiStart:
    """Descents from all starts on coarse objectives, from the best basins on the finest.

    If the best loss is then far above the noise floor, no start has found the right basin, or the model is wrong; if
    only one start has found the best basin, others may be undiscovered; if it leaves parameters undetermined, it may
    be where a descent ran away: another round of as many starts follows, up to `settings.max_rounds`. A loss
    that noise makes, but seldom, asks for another round, too; if that finds no better basin, it is the last. None
    follows if nearly all starts agree on an end that a few specimens would refuse: then it is the model.

    Args:
        descents: runs the descents; its settings are the limits.
        objectives: of few specimens, of the part for the screening, and of all; the last two may be the same.
        draws: draws of the prior, shape (num, P), `DRAWS_PER_START` for each start of each round.
        num_starts: number of starts in a round.
        noise: value that noise makes of one specimen on both sides.
        constrain: from an unconstrained position to values by name.
        is_determined: whether an end leaves no parameter undetermined.
        on_draws: called once with an objective and the first draws that it was evaluated at.
        on_misfit: called once with the best end, if a round has found nothing plausible and another one follows.
    """

    def __init__(
        self,
        descents: Descents,
        objectives: tuple[AbstractObjective, AbstractObjective, AbstractObjective],
        draws: Float[np.ndarray, "draws P"],
        num_starts: int,
        noise: float,
        constrain: Callable[[np.ndarray], dict[str, np.ndarray]],
        *,
        is_determined: Callable[[Descent], bool],
        on_draws: Callable[[AbstractObjective, np.ndarray], None],
        on_misfit: Callable[[Descent], None],
    ):
        self._descents, self._settings, self._recorder = descents, descents.settings, descents.recorder
        self._few, self._part, self._whole = objectives
        self._draws, self._num_starts, self._noise, self._constrain = draws, num_starts, noise, constrain
        self._is_determined, self._on_draws, self._on_misfit = is_determined, on_draws, on_misfit
        self._ends: list[Descent] = []
        self._losses: list[np.ndarray] = []
        self._polished: dict[int, Descent] = {}

    def run(self) -> Outcome | list[Descent]:
        """All rounds; if no start can be evaluated, the failed ends."""
        iterations: list[int] = []
        best: Descent | None = None
        is_misfit_told = False
        for number in range(self._settings.max_rounds):
            self._screen(number)
            iterations += [len(row) for row in self._losses[len(iterations) :]]
            self._polish(is_last=number == self._settings.max_rounds - 1)
            alive = [end for end in self._polished.values() if end.status != FAILED]
            previous, best = best, min(alive, key=lambda end: float(end.evaluation.value), default=None)
            if best is None:
                continue
            if self._is_plausible(number, best, previous) or self._is_hopeless(best):
                break
            if best.evaluation.value > MOST_NOISE * self._whole.floor and not is_misfit_told:
                is_misfit_told = True
                self._on_misfit(best)
        if best is None:
            return self._ends
        if best.status == ABANDONED:
            # Nothing better came of the other rounds: it goes on to its end.
            self._recorder.progress.expect(1)
            first = next(i for i, end in self._polished.items() if end is best)
            best = self._descend_whole(f"finish {first}", best.position)
            self._losses[first] = np.append(self._losses[first], best.losses)
            self._polished[first] = best
        return Outcome(best, self._basins(), self._losses, iterations)

    def _is_plausible(self, number: int, best: Descent, previous: Descent | None) -> bool:
        """Whether a right fit ends like this; with a rare loss, only if the last round has found no better basin."""
        floor = self._whole.floor
        is_fruitless = previous is not None and is_same_basin(previous, best.position, floor)
        is_noise = best.evaluation.value <= (MOST_NOISE if is_fruitless else _USUAL_NOISE) * floor
        if not (is_noise and self._is_confirmed()):
            return False
        saved = self._recorder.once(f"determined {number}", lambda: {"value": np.array(self._is_determined(best))})
        return bool(saved["value"])

    def _is_hopeless(self, best: Descent) -> bool:
        """Whether nearly all starts agree on an end that few specimens would refuse: then it is the model."""
        is_refused = best.evaluation.value > max(_HOPELESS * self._noise, MOST_NOISE * self._whole.floor)
        num_agreed = len(self._basins()[0].starts)
        return bool(is_refused and num_agreed >= max(_NUM_AGREED, _AGREED * len(self._ends)))

    def _screen(self, number: int) -> None:
        """The starts of one round, on the coarse objectives."""
        first, last = number * self._num_starts, (number + 1) * self._num_starts
        draws = self._draws[DRAWS_PER_START * first : DRAWS_PER_START * last]
        losses, positions = [np.zeros(0)] * self._num_starts, list(draws[: self._num_starts])
        is_scouted = self._part.num_specimens >= 4 * self._few.num_specimens
        self._recorder.progress.expect((1 + is_scouted) * self._num_starts)
        if is_scouted:
            positions = self._descents.best_of(f"draws {number}", self._few, draws, self._num_starts)
            if number == 0:
                self._on_draws(self._few, draws)
            floor = _CLOSE * self._few.floor
            scouts = [
                self._descend(f"scout {first + i}", self._few, position, _SCOUTING_TOLERANCE, floor=floor)
                for i, position in enumerate(positions)
            ]
            positions, losses = [scout.position for scout in scouts], [scout.losses for scout in scouts]
        tolerance = self._settings.tolerance
        if self._part.num_specimens < self._whole.num_specimens:
            tolerance = max(tolerance, _SCREENING_TOLERANCE)
        for i, position in enumerate(positions):
            bound = _least(self._ends, self._part.floor)
            end = self._descend(f"start {first + i}", self._part, position, tolerance, bound=bound)
            self._ends.append(end)
            self._losses.append(np.append(losses[i], end.losses))
        if number == 0 and not is_scouted:
            self._on_draws(self._part, np.array(positions))

    def _descend(self, *where: Any, **options: Any) -> Descent:
        end = self._descents.run(*where, **options)
        self._recorder.progress.advance()
        return end

    def _groups(self) -> list[list[int]]:
        return group_by_basin(self._ends, self._part.floor)

    def _polish(self, *, is_last: bool) -> None:
        """Descend on the finest objective from basins that may be the best one; with rounds to come, not far."""
        if self._part is self._whole:
            self._polished = dict(enumerate(self._ends))
            return
        limit = _least(self._ends, self._part.floor)
        fresh = [group[0] for group in self._groups() if not set(group) & set(self._polished)]
        chosen = [i for i in fresh if self._ends[i].evaluation.value <= limit][: self._settings.max_polished]
        self._recorder.progress.expect(len(chosen))
        for i in chosen:
            bound = _least(self._polished.values(), self._whole.floor)
            if not is_last:
                bound = min(bound, MOST_NOISE * self._whole.floor)
            end = self._descend_whole(f"polish {i}", self._ends[i].position, bound)
            self._losses[i] = np.append(self._losses[i], end.losses)
            self._polished[i] = end

    def _descend_whole(self, name: str, position: np.ndarray, bound: float = math.inf) -> Descent:
        """On the finest objective: on local models, or if these do not come to rest, as on a coarse one."""
        losses = np.zeros(0)
        if self._whole.has_local_models:
            known = [end for end in self._polished.values() if end.status == CONVERGED]
            end = average_descents(self._descents, name, self._whole, position, bound, known)
            if end.status != EXHAUSTED:
                self._recorder.progress.advance()
                return end
            position, losses = end.position, end.losses
        end = self._descend(name, self._whole, position, self._settings.tolerance, bound=bound, is_settled=True)
        return end._replace(losses=np.append(losses, end.losses))

    def _is_confirmed(self) -> bool:
        """Whether two starts ended in the best basin; a basin that one start found may have a better neighbour."""
        best = min(self._polished, key=lambda i: np.nan_to_num(float(self._polished[i].evaluation.value), nan=np.inf))
        firsts, ends = list(self._polished), list(self._polished.values())
        groups = [[firsts[i] for i in group] for group in group_by_basin(ends, self._whole.floor)]
        return self._num_starts == 1 or any(best in group and len(group) > 1 for group in groups + self._groups())

    def _basins(self) -> list[Basin]:
        """All ends, those on the finest objective first."""
        groups = self._groups()
        firsts, ends = list(self._polished), list(self._polished.values())
        basins = []
        for merged in group_by_basin(ends, self._whole.floor):
            members = [firsts[i] for i in merged]
            # With those that had joined them on the part.
            members += [i for group in groups if set(group) & set(members) for i in group if i not in firsts]
            basins.append(self._basin(members, ends[merged[0]], self._whole))
        listed = {i for basin in basins for i in basin.starts}
        for group in groups:
            members = [i for i in group if i not in listed]
            if members:
                basins.append(self._basin(members, self._ends[members[0]], self._part))
        failed = [i for i, end in enumerate(self._ends) if end.status == FAILED]
        return basins + [Basin((i,), math.nan, self._part.num_specimens, {}, FAILED) for i in failed]

    def _basin(self, starts: Sequence[int], end: Descent, objective: AbstractObjective) -> Basin:
        params = self._constrain(end.position)
        return Basin(tuple(starts), float(end.evaluation.value), objective.num_specimens, params, end.status)


def _least(ends: Iterable[Descent], floor: float) -> float:
    """Loss that sampling noise can still make of the best end; infinite if there is none yet."""
    best = min((float(end.evaluation.value) for end in ends if end.status != FAILED), default=math.inf)
    return best + math.sqrt(floor * max(floor, best)) if math.isfinite(best) else best
