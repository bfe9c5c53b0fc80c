"""Stochastic gradient descent by an optax optimizer, with fresh noise in every step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from ..divergences import AbstractLeastSquaresDivergence
from ._basins import Basin, group_by_basin
from ._checkpoint import Checkpoint
from ._least_squares import Outcome
from ._level import LeastSquares
from ._levenberg_marquardt import CONVERGED, FAILED, Descent, Evaluation
from ._problem import Problem
from ._progress import Progress

_WINDOW = 100


@runtime_checkable
class GradientTransformation(Protocol):
    """An optax optimizer; said without optax, which is imported where one is at work."""

    init: Callable
    update: Callable


class StochasticSettings(NamedTuple):
    """Optimizer, number of steps, and number of data specimens in a step (None: all)."""

    optimizer: GradientTransformation
    num_steps: int
    batch_size: int | None


def fit_stochastic(
    problem: Problem,
    settings: StochasticSettings,
    starts: np.ndarray,
    keys: tuple,
    noise: float,
    store: Checkpoint,
    progress: Progress,
) -> Outcome:
    """Run the optimizer from each start; the best start has the least mean loss over its last 100 steps.

    The end of a start is the mean of its last 100 iterates (at most half of them) in unconstrained space. A step whose
    loss or gradient is not finite is skipped and recorded as NaN.

    Raises:
        RuntimeError: if no step of any start is finite.
    """
    simulation_key, divergence_key, steps_key = keys
    window = max(1, min(_WINDOW, settings.num_steps // 2))
    progress.expect(settings.num_steps * len(starts))
    runs = [
        _descend(problem, settings, start, jax.random.fold_in(steps_key, i), f"start {i}", window, store, progress)
        for i, start in enumerate(starts)
    ]
    tails = np.array([_mean_finite(losses[-window:]) for _, losses in runs])
    if np.isnan(tails).all():
        raise RuntimeError(
            f"All {len(starts)} starts failed: their losses or gradients are not finite. Lower the learning rate,"
            " narrow the prior, or simulate one point with `Population(...).simulate(params, rng_key, throw=True)`."
        )
    whole = problem.population.num_specimens
    level = None
    if isinstance(problem.divergence, AbstractLeastSquaresDivergence):
        level = LeastSquares(problem, whole, simulation_key, divergence_key)
    ends = []
    for i, (position, losses) in enumerate(runs):
        alive = not np.isnan(tails[i])
        evaluation = _evaluate(problem, level, position, simulation_key, divergence_key) if alive else _NOTHING
        status = CONVERGED if alive and evaluation.is_finite else FAILED
        # Grouped and sorted by what the optimizer has seen; the value on held noise is the reported loss.
        ends.append(Descent(position, evaluation, np.array(0.0), np.array(0.0), losses, np.array(len(losses)), status))
    order = sorted((i for i in range(len(ends)) if ends[i].status != FAILED), key=lambda i: tails[i])
    if not order:
        raise RuntimeError("The divergence is not finite at the end of any start; lower the learning rate.")
    if level is None:
        groups = [[i] for i in order]
    else:
        floor = noise * (1 / problem.num_data + 1 / whole)
        groups = sorted(group_by_basin(ends, floor), key=lambda group: min(tails[i] for i in group))
        groups = [sorted(group, key=lambda i: tails[i]) for group in groups]
    basins = [
        Basin(tuple(g), float(ends[g[0]].evaluation.value), whole, problem.constrain(ends[g[0]].position), CONVERGED)
        for g in groups
    ]
    basins += [Basin((i,), float("nan"), whole, {}, FAILED) for i, end in enumerate(ends) if end.status == FAILED]
    return Outcome(ends[order[0]], level, basins, [losses for _, losses in runs], [0] * len(runs))


def _descend(problem, settings, start, start_key, name, window, store, progress):
    """All steps of one start: the mean of its last iterates, and its losses."""
    import optax

    optimizer = settings.optimizer
    state = optimizer.init(jnp.asarray(start))
    leaves, structure = jax.tree.flatten(state)
    vector, total, losses = jnp.asarray(start), np.zeros(start.shape), np.zeros(0)
    if (saved := store.get(name)) is not None:
        vector, total, losses = jnp.asarray(saved["vector"]), saved["total"], saved["losses"]
        leaves = [jnp.asarray(saved[f"leaf {i}"]) for i in range(len(leaves))]

    def step(vector, leaves, step_key, data):
        simulation_key, divergence_key, batch_key = jax.random.split(step_key, 3)
        measured = data.cloud
        if settings.batch_size is not None:
            measured = measured[jax.random.randint(batch_key, (settings.batch_size,), 0, measured.shape[0])]

        def loss_fn(vector):
            cloud = problem.cloud(vector, simulation_key, problem.population.num_specimens, data)
            return problem.divergence(cloud, measured, rng_key=divergence_key)

        if problem.population.scored:
            loss, gradient = problem.value_and_gradient(vector, simulation_key, divergence_key, data, measured)
        else:
            loss, gradient = jax.value_and_grad(loss_fn)(vector)
        state = jax.tree.unflatten(structure, leaves)
        updates, new_state = optimizer.update(gradient, state, vector)
        good = jnp.isfinite(loss) & jnp.all(jnp.isfinite(gradient))
        new_vector = jnp.where(good, optax.apply_updates(vector, updates), vector)
        new_leaves = [jnp.where(good, a, b) for a, b in zip(jax.tree.leaves(new_state), leaves, strict=True)]
        return new_vector, new_leaves, jnp.where(good, loss, jnp.nan)

    progress.advance(len(losses))
    for i in range(len(losses), settings.num_steps):
        vector, leaves, loss = problem.call(
            "step", step, vector, leaves, jax.random.fold_in(start_key, i), problem.data
        )
        problem.costs.add(problem.population.num_specimens)
        losses = np.append(losses, float(loss))
        if i >= settings.num_steps - window:
            total = total + np.asarray(vector, float)
        state_arrays: dict[str, Any] = {f"leaf {j}": np.asarray(leaf) for j, leaf in enumerate(leaves)}
        state_arrays |= {"vector": np.asarray(vector), "total": total, "losses": losses}
        store.put(**{name: state_arrays, "costs": problem.costs.to_arrays()})
        progress.report(name, losses[-1], problem.population.num_specimens)
        progress.advance()
    return (total / window).astype(start.dtype), losses


def _evaluate(problem, level, position, simulation_key, divergence_key):
    if level is not None:
        return level(position)

    def value(vector, simulation_key, divergence_key, data):
        cloud = problem.cloud(vector, simulation_key, problem.population.num_specimens, data)
        return problem.divergence(cloud, data.cloud, rng_key=divergence_key)

    problem.costs.add(problem.population.num_specimens)
    loss = problem.call("value", value, jnp.asarray(position), simulation_key, divergence_key, problem.data)
    return _NOTHING._replace(value=np.asarray(loss, float))


_NOTHING = Evaluation(np.array(np.nan), np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)), np.array(1.0))


def _mean_finite(losses):
    finite = losses[np.isfinite(losses)]
    return finite.mean() if 2 * len(finite) > len(losses) else np.nan
