"""From a problem to the end of its optimisation: by least squares from many starts, or by an optax optimizer."""

import math
import warnings

import jax
import numpy as np
from jaxtyping import Array, Float

from ..clouds import describe_difference, describe_units
from ..divergences import AbstractDivergence, AbstractLeastSquaresDivergence
from ..optimise import (
    Descents,
    Evaluation,
    GradientTransformation,
    LevenbergMarquardt,
    MultiStart,
    Outcome,
    StochasticObjective,
    stochastic_descents,
)
from ._divergence_objective import DivergenceObjective
from ._problem import Problem
from ._standard_errors import standard_errors

_DATA_PER_SPECIMEN = 4


def checked_optimizer(
    divergence: AbstractDivergence,
    optimizer: LevenbergMarquardt | GradientTransformation | None,
    num_steps: int | None,
    batch_size: int | None,
) -> LevenbergMarquardt | GradientTransformation:
    """The optimizer, by default the one for sums of squares; an error if divergence or options do not fit it."""
    if not isinstance(divergence, AbstractDivergence):
        raise TypeError(f"divergence must be an AbstractDivergence, as SlicedWasserstein() is; got {divergence!r}.")
    least_squares = isinstance(divergence, AbstractLeastSquaresDivergence)
    if optimizer is None:
        if not least_squares:
            raise ValueError(
                f"{type(divergence).__name__} is no sum of squares: pass an optax optimizer and num_steps."
            )
        optimizer = LevenbergMarquardt()
    if isinstance(optimizer, LevenbergMarquardt):
        if not least_squares:
            raise ValueError(f"LevenbergMarquardt needs a sum of squares; {type(divergence).__name__} is none.")
        if num_steps is not None or batch_size is not None:
            raise ValueError(
                "num_steps and batch_size belong to optax optimizers; LevenbergMarquardt(max_steps=...) has limits of"
                " its own."
            )
    elif num_steps is None or num_steps < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError("An optax optimizer needs num_steps >= 1 (and batch_size >= 1, if given).")
    return optimizer


def search(
    problem: Problem,
    descents: Descents,
    draws: Float[np.ndarray, "draws P"],
    num_starts: int,
    keys: tuple[Array, Array],
    noise: float,
    prior: Float[np.ndarray, "prior P"],
) -> tuple[Outcome, DivergenceObjective]:
    """Levenberg-Marquardt from many starts, on objectives of few, some and all specimens; the last one is returned.

    The keys of the simulated sites and of the divergence are held fixed; `noise` is the `sampling_noise` of the data,
    and `prior` tells what is undetermined.
    """
    settings, whole, chunk = descents.settings, problem.simulator.num_specimens, problem.simulator.chunk_size
    part = math.ceil((settings.num_screening or max(500, whole // 16)) / chunk) * chunk
    part = whole if 2 * part > whole else part

    def objective(size):
        # What few specimens can tell, few data can: sorting all of them would take longer than the simulation.
        num_data = None if size == whole else _DATA_PER_SPECIMEN * size
        return DivergenceObjective(problem, size, *keys, num_data=num_data, noise=noise)

    few, some, finest = map(objective, (min(settings.num_scouting, part), part, whole))
    finest = finest if part < whole or finest.has_local_models else some

    def compare_units(objective, positions):
        # Those that were evaluated before an interruption are not known.
        medians = [objective.medians.get(position.tobytes()) for position in positions]
        medians = [median for median in medians if median is not None]
        if medians:
            for words in describe_units(problem.run_scale, np.asarray(problem.data[0]), np.array(medians)):
                warnings.warn(words, UserWarning, stacklevel=6)

    def say_misfit(best):
        reason = "another microstructure"
        if (kept := finest.kept(best.position)) is not None:
            clouds = (np.asarray(cloud) for cloud in (problem.data[0], kept.points))
            reason = describe_difference(problem.scale.names, *clouds)[0]
        descents.recorder.progress.say(
            f"So far the least divergence is {best.evaluation.value / finest.floor:.3g} times what sampling noise"
            f" makes. It may be the starts: others follow. It may be the model: {reason}."
        )

    outcome = MultiStart(
        descents,
        (few, some, finest),
        draws,
        num_starts,
        noise,
        problem.parameters.at,
        is_determined=lambda end: not standard_errors(problem, end, finest, prior).undetermined,
        on_draws=compare_units,
        on_misfit=say_misfit,
    ).run()
    if isinstance(outcome, Outcome):
        return outcome, finest
    position, failed = some.first_failure or (outcome[0].position, np.arange(part))
    values = "; ".join(f"{name} = {value}" for name, value in problem.parameters.at(position).items())
    raise RuntimeError(
        f"All {len(outcome)} starts failed: at each of them a simulated value or its derivative is not finite. Likely"
        " causes: a prior that reaches values where the cells cannot be solved (zero or negative conductivities,"
        " extreme contrast), a transform that overflows, or data in other units than the model. Simulate one point with"
        " `Simulator(model, keys, ...).sample(params, rng_key)` to see the reason, or narrow the prior. The first time"
        f" {len(failed)} of {part} specimens failed, {failed[:5].tolist()} among them, at {values}. If they are few,"
        " `MinimumDistance(..., max_failed=0.01)` leaves so many of a hundred out."
    )


def follow(
    problem: Problem,
    starts: Float[np.ndarray, "starts P"],
    steps_key: Array,
    keys: tuple[Array, Array],
    noise: float,
    optimizer: GradientTransformation,
    num_steps: int,
    batch_size: int | None,
) -> tuple[Outcome, DivergenceObjective | None]:
    """An optax optimizer from each start; the objective is None for divergences that are no sums of squares."""
    size, recorder, objective = problem.simulator.num_specimens, problem.recorder, None

    def value_and_gradient(vector, step_key, data):
        simulation_key, divergence_key, batch_key = jax.random.split(step_key, 3)
        if batch_size is not None:
            data = (data[0][jax.random.randint(batch_key, (batch_size,), 0, problem.num_data)], data[1])
        return problem.value_and_gradient(vector, (simulation_key, divergence_key), data)

    def value(position):
        recorder.count(size)
        return Evaluation.of_value(float(problem.programs("value", problem.value, position, keys, problem.data)))

    if isinstance(problem.divergence, AbstractLeastSquaresDivergence):
        objective = DivergenceObjective(problem, size, *keys, noise=noise)
    sought = StochasticObjective(value_and_gradient, problem.data, objective or value, size)
    options = (problem.parameters.at, problem.programs, recorder)
    return stochastic_descents(sought, optimizer, num_steps, starts, steps_key, *options), objective
