"""`fit_surrogate`: train a surrogate by maximum likelihood and test it on cells that it has not seen."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from .._keys import single_key
from .._table import AbstractReport, Table
from ..tensors import least_eigenvalue
from ._surrogate import AbstractSurrogate, Ensemble


@dataclasses.dataclass(frozen=True, repr=False)
class SurrogateFit(AbstractReport):
    """What `fit_surrogate` returns.

    Attributes:
        value: the trained `Ensemble`.
        error_percent: root mean square relative error of the expected tensor on the cells held out, in percent of its
            Frobenius norm; the spread of single cells is part of it.
        spread_percent: what that error is if the surrogate is right: that of its own draws at the same inputs.
        residuals: standardised residuals of the cells held out, shape (held_out, components).
        log_prob: mean log density of the cells held out.
        losses: minus the mean log density of the training cells along the way, shape (members, records).
        num_pairs: number of cells trained on.
    """

    value: Ensemble
    error_percent: float
    spread_percent: float
    residuals: Float[np.ndarray, "held_out components"]
    log_prob: float
    losses: Float[np.ndarray, "members records"]
    num_pairs: int

    @functools.cached_property
    def normality(self) -> Float[np.ndarray, "components"]:
        """Probability of residuals as far from normal in each component, by the test of D'Agostino and Pearson."""
        from scipy.stats import normaltest

        return np.asarray(normaltest(self.residuals, axis=0).pvalue)

    def _table(self) -> Table:
        deviations = self.residuals.std(axis=0)
        rows = [("component", "mean residual", "deviation", "p (normal)")]
        for i, (mean, deviation, p) in enumerate(
            zip(self.residuals.mean(axis=0), deviations, self.normality, strict=True)
        ):
            rows.append((str(i), f"{mean:.2f}", f"{deviation:.2f}", f"{p:.2g}"))
        notes = (
            f"error {self.error_percent:.2f} % on {len(self.residuals)} cells held out, where"
            f" {self.spread_percent:.2f} % are expected of single cells; trained on {self.num_pairs}",
        )
        return Table("Surrogate", rows, notes)


def fit_surrogate(
    rng_key: ArrayLike,
    surrogate: AbstractSurrogate,
    inputs: Sequence[ArrayLike],
    tensors: ArrayLike,
    *,
    num_members: int = 4,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    held_out: float = 0.1,
) -> SurrogateFit:
    """Train an ensemble of surrogates by maximum likelihood.

    Each member starts at other weights and sees other batches; Adam, whose rate falls to zero along a cosine.

    Args:
        rng_key: key of weights, batches and of the choice of the cells held out.
        surrogate: a surrogate of the kind to be trained; its weights are where members start, jittered.
        inputs: its inputs, each of shape (num, ...).
        tensors: effective tensors of one cell each, shape (num, d, d).
        num_members: number of members of the ensemble.
        num_steps: steps of Adam.
        batch_size: cells in each.
        learning_rate: its greatest rate.
        held_out: fraction of the cells kept for the test.

    Raises:
        ValueError: if an option is out of its range, there are fewer than 20 cells, their numbers differ, a value is
            not finite, or all tensors are equal or one is not positive definite.
        RuntimeError: if the training leaves the finite numbers.

    Costs some 16 s on two cores for 2000 steps of two members on 5000 cells (benchmarks/bench_density.py).

    References:
        Lakshminarayanan, Pritzel and Blundell, NeurIPS 2017, for ensembles.
    """
    if min(num_members, num_steps, batch_size) < 1 or not 0 < held_out < 1:
        raise ValueError(
            f"num_members, num_steps and batch_size must be at least 1 and held_out between 0 and 1; got {num_members},"
            f" {num_steps}, {batch_size} and {held_out}."
        )
    arrays, tensors = [jnp.asarray(x) for x in inputs], jnp.asarray(tensors)
    _check(arrays, tensors)
    split_key, train_key = jax.random.split(single_key(rng_key))
    order = np.asarray(jax.random.permutation(split_key, len(tensors)))
    cut = math.ceil(held_out * len(tensors))
    test, train = order[:cut], order[cut:]
    keys = jax.random.split(train_key, num_members)
    members, losses = _train(
        surrogate, [x[train] for x in arrays], tensors[train], keys, num_steps, batch_size, learning_rate
    )
    if not np.isfinite(losses).all():
        raise RuntimeError(f"The training left the finite numbers: lower learning_rate, now {learning_rate}.")
    value = Ensemble(members)
    return _judge(value, [x[test] for x in arrays], tensors[test], np.asarray(losses), len(train), train_key)


@eqx.filter_jit
def _train(
    surrogate: AbstractSurrogate,
    inputs: list[Array],
    tensors: Float[Array, "cells d d"],
    keys: Array,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
) -> tuple[AbstractSurrogate, Float[Array, "members steps"]]:
    """A member for each key, with the members along a first axis, and its losses."""
    import optax

    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    weights, static = eqx.partition(surrogate, eqx.is_inexact_array)

    def loss_fn(weights: PyTree, rows: Array) -> Array:
        member = eqx.combine(weights, static)
        return -jnp.mean(member.log_prob(tensors[rows], *[x[rows] for x in inputs]))

    def step(carry: tuple, key: Array) -> tuple[tuple, Array]:
        weights, state = carry
        rows = jax.random.randint(key, (min(batch_size, len(tensors)),), 0, len(tensors))
        loss, slope = jax.value_and_grad(loss_fn)(weights, rows)
        updates, state = optimizer.update(slope, state)
        return (optax.apply_updates(weights, updates), state), loss

    def one(key: Array) -> tuple[AbstractSurrogate, Array]:
        start_key, key = jax.random.split(key)
        start = _jittered(weights, start_key)
        (end, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(key, num_steps))
        return eqx.combine(end, static), losses

    return eqx.filter_vmap(one)(keys)


def _jittered(weights: PyTree, rng_key: Array) -> PyTree:
    """Weights of a network moved by half of their own spread; biases stay."""
    flat, structure = jax.tree.flatten(weights)
    keys = jax.random.split(rng_key, len(flat))
    moves = [jnp.std(x) / 2 * jax.random.normal(key, x.shape, x.dtype) for x, key in zip(flat, keys, strict=True)]
    return jax.tree.unflatten(structure, [x + move if x.ndim > 1 else x for x, move in zip(flat, moves, strict=True)])


@eqx.filter_jit
def _on_test(
    value: Ensemble, inputs: list[Array], tensors: Float[Array, "cells d d"], rng_key: Array
) -> tuple[Array, Array, Array, Array]:
    """Expected and drawn tensors, residuals and log densities."""
    expected, drawn = value.mean(*inputs), value.sample(rng_key, *inputs)
    return expected, drawn, value.standardize(tensors, *inputs), value.log_prob(tensors, *inputs)


def _judge(
    value: Ensemble,
    inputs: list[Array],
    tensors: Float[Array, "cells d d"],
    losses: Float[np.ndarray, "members steps"],
    num_pairs: int,
    rng_key: Array,
) -> SurrogateFit:
    expected, drawn, residuals, log_prob = map(np.asarray, _on_test(value, inputs, tensors, rng_key))
    norm = np.linalg.norm(tensors, axis=(-2, -1))

    def percent(found: Float[np.ndarray, "cells d d"]) -> float:
        return 100 * math.sqrt(np.mean((np.linalg.norm(found - expected, axis=(-2, -1)) / norm) ** 2))

    return SurrogateFit(
        value, percent(np.asarray(tensors)), percent(drawn), residuals, float(log_prob.mean()), losses, num_pairs
    )


def _check(inputs: list[Array], tensors: Array) -> None:
    nums = [len(x) for x in (*inputs, tensors)]
    if len(set(nums)) > 1:
        raise ValueError(f"Inputs and tensors have their cells along the first axis; got {nums} of them.")
    if len(tensors) < 20:
        raise ValueError(f"A surrogate is trained on at least 20 cells, better hundreds; got {len(tensors)}.")
    if not all(bool(jnp.all(jnp.isfinite(x))) for x in (*inputs, tensors)):
        raise ValueError("Inputs or tensors are not finite: leave out the cells that have failed.")
    if tensors.ndim != 3 or not bool(jnp.all(least_eigenvalue(tensors) > 0)):
        raise ValueError("Tensors must be symmetric positive definite, shape (num, d, d), one for each cell.")
    if bool(jnp.all(tensors == tensors[:1])):
        raise ValueError("All tensors are equal: there is nothing to learn. Do the inputs vary?")
