"""Minimum-distance estimation: simulated and measured specimens should be distributed alike."""

import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Float

from .._compat import active_handlers
from .._keys import single_key
from .._pickling import ByValue
from .._results import RESULTS
from .._store import digest
from ..clouds import CloudScale, checked_fraction, describe_difference
from ..divergences import AbstractDivergence, sampling_noise
from ..optimise import (
    CONVERGED,
    DRAWS_PER_START,
    MOST_NOISE,
    BasinTable,
    Checkpoint,
    Descents,
    GradientTransformation,
    LevenbergMarquardt,
    Outcome,
    Progress,
    Recorder,
)
from ..population import Simulator, check_simulator, same_arguments, warn_of_few_simulated
from ._divergence_objective import DivergenceObjective
from ._evidence import describe_exchangeable, describe_outside
from ._problem import Problem
from ._results import MinimumDistanceResult
from ._search import checked_optimizer, follow, search
from ._standard_errors import StandardErrors, spread_of, standard_errors

_NUM_PRIOR_DRAWS, _NUM_KEPT_DRAWS = 64, 256


class MinimumDistance:
    """Estimate parameters by the least divergence of simulated from measured specimens.

        theta^ = argmin_theta D({simulated specimens at theta}, {measured specimens})

    The parameters are the latent sites outside the specimen plate (see `Simulator`); their prior gives the starts and
    plays no other part. Divergences that are sums of squares are minimised by Levenberg-Marquardt under common random
    numbers, in unconstrained space, with the exact derivative of the simulated specimens, which costs no solve;
    where a draw has no path derivative, with the score of its density or of one before it. An optax optimizer can
    minimise any divergence instead, with fresh noise in every step (scores need a sum of squares there, too).

    Args:
        model: a NumPyro model with a specimen plate.
        data: compared site -> measured values, shape (N, *event): {"K_eff": measured}. Tensors are compared by their
            unique components, each divided by its standard deviation in the data. A site may be any deterministic or
            sample site of the plate.
        divergence: what is minimised, for example `SlicedWasserstein()`.
        optimizer: `LevenbergMarquardt(...)` (the default where it applies) or an optax optimizer; its learning rate
            and schedule are yours.
        num_steps: number of steps of an optax optimizer; needed with one.
        batch_size: with an optax optimizer, number of data specimens compared in each step, drawn with replacement;
            default: all. The number of simulated ones is the size of the model's plate.
        plate: name of the specimen plate, if not the innermost one of the compared sites.
        chunk_size: number of specimens simulated at a time; see `Simulator`.
        score: names of simulated sites whose parameters act by the score of their density, although the draw has a
            path derivative. Where there is no path, as through a discrete label, the score is used unasked.
        max_failed: fraction of the simulated specimens that may fail (a cell that cannot be solved): they are left out
            and told in `stats["failed"]`, and the estimate is that of the law of the others. Where more fail, as by
            default where one does, the parameters are refused as a point of the search.

    Raises:
        ValueError: at construction, if the data are unusable (one specimen, identical ones, not finite; see
            `CloudScale`) or the options do not fit the optimizer.

    Example:
        >>> estimator = MinimumDistance(model, {"K_eff": measured}, SlicedWasserstein())
        >>> fit = estimator.run(jax.random.key(0), num_specimens=4000)
        >>> fit.params["kappa"], fit.standard_errors["kappa"]
    """

    def __init__(
        self,
        model: Callable,
        data: Mapping[str, Any],
        divergence: AbstractDivergence,
        optimizer: LevenbergMarquardt | GradientTransformation | None = None,
        *,
        num_steps: int | None = None,
        batch_size: int | None = None,
        plate: str | None = None,
        chunk_size: int | None = None,
        score: Sequence[str] = (),
        max_failed: float = 0.0,
    ):
        self.model, self.divergence = model, divergence
        self.optimizer = checked_optimizer(divergence, optimizer, num_steps, batch_size)
        self.num_steps, self.batch_size = num_steps, batch_size
        self.plate, self.chunk_size, self.score = plate, chunk_size, tuple(score)
        self.max_failed = checked_fraction(max_failed)
        self.scale = CloudScale(data)
        self._data = {key: np.asarray(value) for key, value in data.items()}
        # The last problem and the arguments it was made for; estimators for other data share it.
        self._cache: list[tuple[tuple, dict, Problem]] = []

    def __getstate__(self) -> dict[str, Any]:
        by_value = {name: ByValue(getattr(self, name)) for name in ("model", "divergence", "optimizer")}
        return self.__dict__ | by_value | {"_cache": []}

    def with_data(self, data: Mapping[str, Any]) -> "MinimumDistance":
        """The same estimator for other data; runs on data of the same shapes compile nothing again.

        Args:
            data: as at construction, with the same keys.

        Raises:
            ValueError: if the data are unusable.
        """
        other = object.__new__(MinimumDistance)
        arrays = {key: np.asarray(value) for key, value in data.items()}
        other.__dict__.update(self.__dict__, scale=CloudScale(data), _data=arrays)
        if other.scale.names != self.scale.names or other.scale.event_shapes != self.scale.event_shapes:
            other._cache = []
        return other

    def run(
        self,
        rng_key: ArrayLike,
        *args: Any,
        num_starts: int = 5,
        starts: Sequence[Mapping[str, Any]] = (),
        progress: bool = True,
        checkpoint: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> MinimumDistanceResult:
        """Fit from several starts and keep the best.

        A second run with equal arguments of the model compiles nothing, whatever its key.

        Args:
            rng_key: key of the starts, the simulated sites and the divergence.
            *args: positional arguments of the model.
            num_starts: number of starts, drawn from the prior (for large populations, where a look at 64 specimens
                is cheap, each the best of four draws). If none comes near the noise floor, another round follows; see
                `LevenbergMarquardt`.
            starts: constrained values of all parameters, by name, from which the first starts begin.
            progress: show a progress bar: what is done of what is foreseen, and the least loss so far.
            checkpoint: a file for the state, replaced after each iteration. If it exists, the run goes on from it and
                ends with bitwise the result of an uninterrupted one, on the same machine; a finished run simulates what
                its standard errors need. The model's code is not part of what is compared: remove the file when you
                change it.
            **kwargs: keyword arguments of the model.

        Returns:
            The estimate with its standard errors; `result` says what to beware of.

        Raises:
            ValueError: if a key is no site of the plate, the shapes of data and model differ, a parameter acts
                neither by path nor by score, `num_starts` < 1, or the checkpoint belongs to another run. All before
                anything is compiled.
            RuntimeError: if no start can be evaluated.

        Each iteration simulates the population (its screening part) once, derivatives included; the standard errors
        need as many specimens as make 10,000 with the population, at most one and a half times as many. A warning
        says if parameters act by scores and fewer than twice as many specimens are simulated as were measured.
        """
        begin, rng_key = time.perf_counter(), single_key(rng_key)
        if num_starts < 1 or len(starts) > num_starts:
            raise ValueError(
                f"num_starts must be at least 1 and the number of starts; got {num_starts}, {len(starts)}."
            )
        problem = self.problem(*args, **kwargs)
        parameters, compiled_before = problem.parameters, problem.programs.seconds
        settings = self.optimizer if isinstance(self.optimizer, LevenbergMarquardt) else None
        if settings is not None:
            warn_of_few_simulated(problem.simulator, self.scale.num_specimens)
        prior_key, simulation_key, divergence_key, noise_key, steps_key = jax.random.split(rng_key, 5)
        keys = (simulation_key, divergence_key)
        num_draws = getattr(settings, "max_rounds", 1) * num_starts * DRAWS_PER_START
        draws = np.array(parameters.sample_vectors(prior_key, max(num_draws, _NUM_KEPT_DRAWS)))
        prior, drawn = draws[: max(num_draws, _NUM_PRIOR_DRAWS)].copy(), draws[:_NUM_PRIOR_DRAWS]
        for i, start in enumerate(starts):
            prior[i : num_starts * DRAWS_PER_START : num_starts] = parameters.position_of(start)
        divergence = (repr(self.divergence), *(np.asarray(leaf) for leaf in jax.tree.leaves(self.divergence)))
        fingerprint = digest(
            *(part for key in self._data for part in (key, self._data[key])),
            np.asarray(jax.random.key_data(rng_key)),
            prior,
            num_starts,
            (parameters.labels, problem.simulator.num_specimens, problem.simulator.chunk_size),
            (problem.simulator.scored, self.max_failed),
            *divergence,
            (self.num_steps, self.batch_size) if settings is None else repr(settings),
        )
        try:
            with Progress(show=progress, unit="descents" if settings is not None else "steps") as bar:
                recorder = Recorder(Checkpoint(checkpoint, fingerprint), bar)
                problem.begin_run(self.scale, recorder)
                noise_fn = partial(sampling_noise, self.divergence)
                noise = float(problem.programs("noise", noise_fn, problem.data[0], noise_key))
                objective: DivergenceObjective | None
                if settings is not None:
                    descents = Descents(settings, spread_of(prior), recorder)
                    outcome, objective = search(problem, descents, prior, num_starts, keys, noise, drawn)
                else:
                    how: Any = self.optimizer, self.num_steps, self.batch_size
                    outcome, objective = follow(problem, prior[:num_starts], steps_key, keys, noise, *how)
        except KeyboardInterrupt:
            if checkpoint is None:
                raise
            raise KeyboardInterrupt(
                f"Interrupted. The state is in {checkpoint}: repeat the same call to resume, or remove the file."
            ) from None
        fit = self._result(problem, outcome, objective, draws[:_NUM_KEPT_DRAWS], noise)
        seconds, compile_seconds = time.perf_counter() - begin, problem.programs.seconds - compiled_before
        fit.stats.update(seconds=seconds, compile_seconds=compile_seconds)
        return fit

    def problem(self, *args: Any, **kwargs: Any) -> Problem:
        """What is fitted for these arguments of the model, or errors as of `run`; with equal ones nothing compiles."""
        if self._cache and not active_handlers():
            old_args, old_kwargs, problem = self._cache[0]
            if same_arguments(old_args, args) and same_arguments(old_kwargs, kwargs):
                self._check_model(problem.simulator)
                return problem
        options: dict[str, Any] = {"plate": self.plate, "chunk_size": self.chunk_size, "score": self.score}
        simulator = Simulator(self.model, self.scale.keys, args, kwargs, **options)
        self._check_model(simulator)
        check_simulator(simulator, self.divergence)
        problem = Problem(simulator, self.scale, self.divergence, self.max_failed)
        # Handlers around this call may have answered the cells while it was traced: such code is not for later calls.
        self._cache[:] = [] if active_handlers() else [(args, kwargs, problem)]
        return problem

    def _check_model(self, simulator: Simulator) -> None:
        self.scale.check_model(simulator.compared, simulator.effective, simulator.num_specimens)

    def _result(
        self,
        problem: Problem,
        outcome: Outcome,
        objective: DivergenceObjective | None,
        prior: Float[np.ndarray, "draws P"],
        noise: float,
    ) -> MinimumDistanceResult:
        simulator, best = problem.simulator, outcome.best
        num_data, num_simulated = self.scale.num_specimens, simulator.num_specimens
        precision = StandardErrors()
        if objective is not None:
            precision = standard_errors(problem, best, objective, prior, is_final=True)
        result: Any = RESULTS.successful if best.status == CONVERGED else RESULTS.fit_not_converged
        evidence = describe_outside(problem.parameters, best.position, prior)
        if evidence:
            result = RESULTS.outside_prior
        if best.status != CONVERGED:
            evidence += ("the descent had not come to rest: more `max_steps`",)
        if precision.at_edge:
            result = RESULTS.at_edge
        if precision.undetermined:
            result = RESULTS.undetermined
        loss, noise_floor = float(best.evaluation.value), noise * (1 / num_data + 1 / num_simulated)
        if objective is not None and loss > MOST_NOISE * noise_floor:
            result = RESULTS.misfit
            points = objective.specimens(best.position).points
            evidence += describe_difference(self.scale.names, np.asarray(problem.data[0]), np.asarray(points))
        num_failed = None if objective is None else 0
        if objective is not None and self.max_failed:
            num_failed = objective.left_out(best.position).size
        losses = np.array(list(itertools.zip_longest(*outcome.losses, fillvalue=np.nan))).T
        return MinimumDistanceResult(
            params=problem.parameters.at(best.position),
            labels=tuple(problem.parameters.labels),
            derivatives=simulator.derivatives,
            scored=simulator.scored,
            unconstrained=best.position,
            loss=loss,
            noise_floor=noise_floor,
            losses=losses,
            basins=BasinTable(outcome.basins),
            **precision._asdict(),
            result=result,
            evidence=(*evidence, *describe_exchangeable(outcome.basins, noise_floor)),
            stats={
                "iterations": problem.recorder.num_evaluations,
                "solves": problem.recorder.num_simulated,
                "screening_iterations": outcome.screening_iterations,
                "num_data": num_data,
                "num_simulated": num_simulated,
                "num_populations": int(best.num_populations),
                "failed": num_failed,
            },
            data=self._data,
            prior=prior,
            simulator=simulator,
        )
