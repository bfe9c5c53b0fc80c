"""Stochastic gradient descents by an optax optimizer, with fresh noise in every step."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._programs import Programs
from ._basins import Basin, group_by_basin
from ._levenberg_marquardt import CONVERGED, FAILED, Descent
from ._multi_start import Outcome
from ._objective import AbstractObjective, Evaluation
from ._recorder import Recorder

_WINDOW = 100


@runtime_checkable
class GradientTransformation(Protocol):
    """An optax optimizer; said without optax, which is imported where one is at work."""

    init: Callable
    update: Callable


class StochasticObjective(NamedTuple):
    """What an optax optimizer sees.

    Attributes:
        value_and_gradient: traceable function of an unconstrained vector, a key and `operands`.
        operands: arrays.
        evaluate: the reported value at an end: an objective, or a function whose evaluation has a value only.
        num_specimens: number of simulated specimens behind a value.
    """

    value_and_gradient: Callable[..., tuple[Array, Array]]
    operands: Any
    evaluate: AbstractObjective | Callable[[np.ndarray], Evaluation]
    num_specimens: int


def stochastic_descents(
    objective: StochasticObjective,
    optimizer: GradientTransformation,
    num_steps: int,
    starts: Float[np.ndarray, "starts P"],
    rng_key: Array,
    constrain: Callable[[np.ndarray], dict[str, np.ndarray]],
    programs: Programs,
    recorder: Recorder,
) -> Outcome:
    """Run the optimizer from each start.

    The best start has the least mean loss over its last 100 steps. The end of a start is the mean of its last 100
    iterates (at most half of them) in unconstrained space. A step whose loss or gradient is not finite is skipped and
    recorded as NaN.

    Args:
        objective: what is minimised.
        optimizer: of optax.
        num_steps: from each start.
        starts: unconstrained, shape (num_starts, P).
        rng_key: key of the steps.
        constrain: from an unconstrained position to values by name.
        programs: what has been compiled.
        recorder: where the run is counted, saved and shown.

    Raises:
        RuntimeError: if no step of any start is finite.
    """
    import optax

    window = max(1, min(_WINDOW, num_steps // 2))
    recorder.progress.expect(num_steps * len(starts))

    def descend(name, start, start_key):
        """All steps of one start: the mean of its last iterates, and its losses."""
        leaves, structure = jax.tree.flatten(optimizer.init(jnp.asarray(start)))
        vector, total, losses = jnp.asarray(start), np.zeros(start.shape), np.zeros(0)
        if (saved := recorder.get(name)) is not None:
            vector, total, losses = jnp.asarray(saved["vector"]), saved["total"], saved["losses"]
            leaves = [jnp.asarray(saved[f"leaf {i}"]) for i in range(len(leaves))]

        def step(vector, leaves, step_key, operands):
            loss, gradient = objective.value_and_gradient(vector, step_key, operands)
            updates, new_state = optimizer.update(gradient, jax.tree.unflatten(structure, leaves), vector)
            good = jnp.isfinite(loss) & jnp.all(jnp.isfinite(gradient))
            new_vector = jnp.where(good, optax.apply_updates(vector, updates), vector)
            new_leaves = [jnp.where(good, a, b) for a, b in zip(jax.tree.leaves(new_state), leaves, strict=True)]
            return new_vector, new_leaves, jnp.where(good, loss, jnp.nan)

        recorder.progress.advance(len(losses))
        for i in range(len(losses), num_steps):
            vector, leaves, loss = programs(
                "step", step, vector, leaves, jax.random.fold_in(start_key, i), objective.operands
            )
            recorder.count(objective.num_specimens)
            losses = np.append(losses, float(loss))
            if i >= num_steps - window:
                total = total + np.asarray(vector, float)
            state: dict[str, Any] = {f"leaf {j}": np.asarray(leaf) for j, leaf in enumerate(leaves)}
            recorder.put(name, state | {"vector": np.asarray(vector), "total": total, "losses": losses})
            recorder.progress.report(name, losses[-1], objective.num_specimens)
            recorder.progress.advance()
        return (total / window).astype(start.dtype), losses

    runs = [descend(f"start {i}", start, jax.random.fold_in(rng_key, i)) for i, start in enumerate(starts)]
    tails = np.array([_mean_finite(losses[-window:]) for _, losses in runs])
    if np.isnan(tails).all():
        raise RuntimeError(
            f"All {len(starts)} starts failed: their losses or gradients are not finite. Lower the learning rate,"
            " narrow the prior, or simulate one point with `Simulator(...).sample(params, rng_key)`."
        )
    ends = []
    for i, (position, losses) in enumerate(runs):
        alive = not np.isnan(tails[i])
        evaluation = objective.evaluate(position) if alive else Evaluation.of_value(np.nan)
        status = CONVERGED if alive and evaluation.is_finite else FAILED
        # Grouped and sorted by what the optimizer has seen; the value on held noise is the reported loss.
        ends.append(Descent(position, evaluation, np.array(0.0), np.array(0.0), losses, np.array(len(losses)), status))
    order = sorted((i for i in range(len(ends)) if ends[i].status != FAILED), key=lambda i: tails[i])
    if not order:
        raise RuntimeError("The divergence is not finite at the end of any start; lower the learning rate.")
    finest = objective.evaluate if isinstance(objective.evaluate, AbstractObjective) else None
    if finest is None:
        groups = [[i] for i in order]
    else:
        groups = sorted(group_by_basin(ends, finest.floor), key=lambda group: min(tails[i] for i in group))
        groups = [sorted(group, key=lambda i: tails[i]) for group in groups]
    num = objective.num_specimens
    basins = [
        Basin(tuple(g), float(ends[g[0]].evaluation.value), num, constrain(ends[g[0]].position), CONVERGED)
        for g in groups
    ]
    basins += [Basin((i,), float("nan"), num, {}, FAILED) for i, end in enumerate(ends) if end.status == FAILED]
    return Outcome(ends[order[0]], basins, [losses for _, losses in runs], [0] * len(runs))


def _mean_finite(losses: Float[np.ndarray, " steps"]) -> float:
    finite = losses[np.isfinite(losses)]
    return finite.mean() if 2 * len(finite) > len(losses) else np.nan
