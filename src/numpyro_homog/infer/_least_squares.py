"""Several starts, screening, basins, polishing: the least-squares fit."""

import math
from typing import NamedTuple

import numpy as np

from ._basins import Basin, group_by_basin, is_same_basin
from ._driver import Driver
from ._evidence import reasons_of_misfit, warn_of_other_units
from ._held_rounds import HeldRounds
from ._level import LeastSquares
from ._levenberg_marquardt import ABANDONED, CONVERGED, EXHAUSTED, FAILED, Descent, LevenbergMarquardt
from ._problem import Problem
from ._standard_errors import standard_errors

_SCREENING_TOLERANCE = 1e-2
_SCOUTING_TOLERANCE = 1e-3
DRAWS_PER_START = 4
_DATA_PER_SPECIMEN = 4
_CLOSE = 4.0
# Of 65 fits of right models to 1000 and 10,000 specimens nine tenths ended below 1.5 noise floors, and all below 2.2.
_USUAL_NOISE = 1.5
MOST_NOISE = 3.0
# In units of the sampling noise of one specimen: 60 measured and 60 simulated specimens would show such a misfit.
_HOPELESS = MOST_NOISE / 60
_AGREED, _NUM_AGREED = 0.8, 3


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


class Search:
    """Descends from all starts on a part of the population, then from the best basins on all of it.

    If the best loss is then far above the noise floor, no start has found the right basin, or the model is wrong; if
    only one start has found the best basin, others may be undiscovered; if it leaves parameters undetermined, it may
    be where a descent ran away: another round of as many starts follows, up to `settings.max_rounds`. A loss
    that noise makes, but seldom, asks for another round, too; if that finds no better basin, it is the last. None
    follows if nearly all starts agree on an end that a few specimens would refuse: then it is the model.

    Args:
        problem: what is fitted.
        settings: the limits.
        draws: draws of the prior, shape (num, P), `DRAWS_PER_START` for each start of each round.
        num_starts: number of starts in a round.
        driver: runs the descents.
        keys: keys of the simulated sites and of the divergence, held fixed.
        noise: `Problem.sampling_noise`.
        prior: draws of the prior, shape (num, P), which tell what is undetermined.
    """

    def __init__(
        self,
        problem: Problem,
        settings: LevenbergMarquardt,
        draws: np.ndarray,
        num_starts: int,
        driver: Driver,
        keys: tuple,
        noise: float,
        prior: np.ndarray,
    ):
        self._problem, self._settings, self._driver, self._noise = problem, settings, driver, noise
        self._draws, self._num_starts, self._prior = draws, num_starts, prior
        part, whole = _screening_size(problem, settings), problem.population.num_specimens
        # What few specimens can tell, few data can: sorting all of them would take longer than the simulation.
        self._few, self._part, self._whole = (
            LeastSquares(problem, size, keys[0], keys[1], None if size == whole else _DATA_PER_SPECIMEN * size)
            for size in (min(settings.num_scouting, part), part, whole)
        )
        self._ends: list[Descent] = []
        self._losses: list[np.ndarray] = []
        self._polished: dict[int, Descent] = {}
        self._looked = self._misfit_said = False

    def run(self) -> Outcome:
        """All rounds.

        Raises:
            RuntimeError: if no start can be evaluated.
        """
        iterations: list[int] = []
        best: Descent | None = None
        for number in range(self._settings.max_rounds):
            self._screen(number)
            iterations += [len(row) for row in self._losses[len(iterations) :]]
            self._polish(is_last=number == self._settings.max_rounds - 1)
            alive = [end for end in self._polished.values() if end.status != FAILED]
            previous, best = best, min(alive, key=lambda end: float(end.evaluation.value), default=None)
            if best and (self._is_plausible(number, best, previous) or self._is_hopeless(best)):
                break
            self._say_misfit(best)
        if best is None:
            raise RuntimeError(_advice(self._problem, self._ends, self._part))
        if best.status == ABANDONED:
            # Nothing better came of the other rounds: it goes on to its end.
            self._driver.progress.expect(1)
            first = next(i for i, end in self._polished.items() if end is best)
            best = self._descend_whole(f"finish {first}", best.position)
            self._losses[first] = np.append(self._losses[first], best.losses)
            self._polished[first] = best
        return Outcome(best, self._whole, self._basins(), self._losses, iterations)

    def _floor(self, level):
        return self._noise * level.noise

    def _is_plausible(self, number, best, previous):
        """Whether a right fit ends like this; with a rare loss, only if the last round has found no better basin."""
        floor = self._floor(self._whole)
        is_fruitless = previous is not None and is_same_basin(previous, best.position, floor)
        is_noise = best.evaluation.value <= (MOST_NOISE if is_fruitless else _USUAL_NOISE) * floor
        return is_noise and self._is_confirmed() and self._is_told(number, best)

    def _is_hopeless(self, best):
        """Whether nearly all starts agree on an end that few specimens would refuse: then it is the model."""
        num_agreed = len(self._basins()[0].starts)
        return best.evaluation.value > max(
            _HOPELESS * self._noise, MOST_NOISE * self._floor(self._whole)
        ) and num_agreed >= max(_NUM_AGREED, _AGREED * len(self._ends))

    def _screen(self, number):
        """The starts of one round, on parts of the population."""
        first, last = number * self._num_starts, (number + 1) * self._num_starts
        draws = self._draws[DRAWS_PER_START * first : DRAWS_PER_START * last]
        losses, positions = [np.zeros(0)] * self._num_starts, list(draws[: self._num_starts])
        is_scouted = self._part.num_specimens >= 4 * self._few.num_specimens
        self._driver.progress.expect((1 + is_scouted) * self._num_starts)
        if is_scouted:
            close = _CLOSE * self._floor(self._few)
            positions = self._driver.best_of(f"draws {number}", self._few, draws, self._num_starts)
            self._look_at_units(self._few.medians)
            scouts = [
                self._descend(f"scout {first + i}", self._few, position, _SCOUTING_TOLERANCE, floor=close)
                for i, position in enumerate(positions)
            ]
            positions, losses = [scout.position for scout in scouts], [scout.losses for scout in scouts]
        tolerance = self._settings.tolerance
        if self._part.num_specimens < self._whole.num_specimens:
            tolerance = max(tolerance, _SCREENING_TOLERANCE)
        begun: list[np.ndarray] = []
        for i, position in enumerate(positions):
            rival = _rival(self._ends, self._floor(self._part))
            num_evaluated = len(self._part.medians)
            end = self._descend(f"start {first + i}", self._part, position, tolerance, rival=rival)
            begun += self._part.medians[num_evaluated : num_evaluated + 1]
            self._ends.append(end)
            self._losses.append(np.append(losses[i], end.losses))
        if not is_scouted:
            self._look_at_units(begun)

    def _say_misfit(self, best):
        """Once, when a round of starts has found nothing plausible: minutes before the end of the others."""
        floor = self._floor(self._whole)
        if best is None or best.evaluation.value <= MOST_NOISE * floor or self._misfit_said:
            return
        self._misfit_said = True
        problem, simulated = self._problem, self._whole.kept(best.position)
        reasons: tuple[str, ...] = ("another microstructure",)
        if simulated is not None:
            clouds = (np.asarray(cloud) for cloud in (problem.data.cloud, simulated.cloud))
            reasons = reasons_of_misfit(problem.scale.names, *clouds)
        self._driver.progress.say(
            f"So far the least divergence is {best.evaluation.value / floor:.3g} times what sampling noise makes. It"
            f" may be the starts: others follow. It may be the model: {reasons[0]}."
        )

    def _look_at_units(self, medians):
        """Once, at draws of the prior, unless they were evaluated before an interruption."""
        if medians and not self._looked:
            self._looked = True
            scale, cloud = self._problem.run_scale, np.asarray(self._problem.data.cloud)
            warn_of_other_units(scale, cloud, np.array(medians))

    def _descend(self, *where, **options):
        end = self._driver.descend(*where, **options)
        self._driver.progress.advance()
        return end

    def _groups(self):
        return group_by_basin(self._ends, self._floor(self._part))

    def _polish(self, *, is_last: bool) -> None:
        """Descend on the whole population from basins that may be the best one; with other rounds to come, not far."""
        if self._part.num_specimens == self._whole.num_specimens and not self._whole.can_hold:
            self._whole, self._polished = self._part, dict(enumerate(self._ends))
            return
        limit = _rival(self._ends, self._floor(self._part))
        fresh = [group[0] for group in self._groups() if not set(group) & set(self._polished)]
        chosen = [i for i in fresh if self._ends[i].evaluation.value <= limit][: self._settings.max_polished]
        self._driver.progress.expect(len(chosen))
        for i in chosen:
            rival = _rival(self._polished.values(), self._floor(self._whole))
            if not is_last:
                rival = min(rival, MOST_NOISE * self._floor(self._whole))
            end = self._descend_whole(f"polish {i}", self._ends[i].position, rival)
            self._losses[i] = np.append(self._losses[i], end.losses)
            self._polished[i] = end

    def _descend_whole(self, name, position, rival=math.inf):
        """On the whole population: with scored sites held, or if that does not come to rest, as on a part of it."""
        losses = np.zeros(0)
        if self._whole.can_hold:
            known = [end for end in self._polished.values() if end.status == CONVERGED]
            end = HeldRounds(self._driver).run(name, self._whole, position, rival, known, self._floor(self._whole))
            if end.status != EXHAUSTED:
                self._driver.progress.advance()
                return end
            position, losses = end.position, end.losses
        tolerance = self._settings.tolerance
        end = self._descend(name, self._whole, position, tolerance, rival=rival, settled=True)
        return end._replace(losses=np.append(losses, end.losses))

    def _is_confirmed(self):
        """Whether two starts ended in the best basin; a basin that one start found may have a better neighbour."""
        best = min(self._polished, key=lambda i: np.nan_to_num(float(self._polished[i].evaluation.value), nan=np.inf))
        firsts, ends = list(self._polished), list(self._polished.values())
        groups = [[firsts[i] for i in group] for group in group_by_basin(ends, self._floor(self._whole))]
        return self._num_starts == 1 or any(best in group and len(group) > 1 for group in groups + self._groups())

    def _is_told(self, number, end):
        """Whether the data determine all parameters there; where a descent ran away, they do not."""
        store, name = self._driver.store, f"told {number}"
        saved = store.get(name)
        if saved is None:
            found = standard_errors(self._problem, end, self._whole, self._prior)
            saved = {"told": np.array(not found.undetermined)}
            store.put(**{name: saved, "costs": self._problem.costs.to_arrays()})
        return bool(saved["told"])

    def _basins(self):
        """All ends, those on the whole population first."""
        groups = self._groups()
        firsts, ends = list(self._polished), list(self._polished.values())
        basins = []
        for merged in group_by_basin(ends, self._floor(self._whole)):
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

    def _basin(self, starts, end, level):
        params = self._problem.constrain(end.position)
        return Basin(tuple(starts), float(end.evaluation.value), level.num_specimens, params, end.status)


def _rival(ends, floor):
    """Loss that sampling noise can still make of the best end; infinite if there is none yet."""
    best = min((float(end.evaluation.value) for end in ends if end.status != FAILED), default=math.inf)
    return best + math.sqrt(floor * max(floor, best)) if math.isfinite(best) else best


def _screening_size(problem, settings):
    whole, chunk = problem.population.num_specimens, problem.population.chunk_size
    size = settings.num_screening or max(500, whole // 16)
    size = math.ceil(size / chunk) * chunk
    return whole if 2 * size > whole else size


def _advice(problem, ends, level):
    position, failed = level.first_failure or (ends[0].position, np.arange(level.num_specimens))
    values = "; ".join(f"{name} = {value}" for name, value in problem.constrain(position).items())
    return (
        f"All {len(ends)} starts failed: at each of them a simulated value or its derivative is not finite. Likely"
        " causes: a prior that reaches values where the cells cannot be solved (zero or negative conductivities,"
        " extreme contrast), a transform that overflows, or data in other units than the model. Simulate one point with"
        " `Population(model, keys, ...).simulate(params, rng_key, throw=True)` to see the reason, or narrow the prior."
        f" The first time {len(failed)} of {level.num_specimens} specimens failed, {failed[:5].tolist()} among them, at"
        f" {values}. If they are few, `MinimumDistance(..., max_failed=0.01)` leaves so many of a hundred out."
    )
