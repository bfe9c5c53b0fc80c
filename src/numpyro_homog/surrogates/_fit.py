"""`fit_surrogate`: train a surrogate by maximum likelihood and test it on cells that it has not seen."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import ArrayLike, Float

from .._keys import single_key
from .._table import AbstractReport, Table
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
        ValueError: if there are fewer than 20 cells, their numbers differ, a value is not finite, or all tensors
            are equal.
    """
    inputs = [jnp.asarray(x) for x in inputs]
    tensors = jnp.asarray(tensors)
    _check(inputs, tensors)
    split_key, rng_key = jax.random.split(single_key(rng_key))
    order = np.asarray(jax.random.permutation(split_key, len(tensors)))
    cut = math.ceil(held_out * len(tensors))
    test, train = order[:cut], order[cut:]
    keys = jax.random.split(rng_key, num_members)
    members, losses = _train(
        surrogate, [x[train] for x in inputs], tensors[train], keys, num_steps, batch_size, learning_rate
    )
    value = Ensemble(members)
    return _judge(value, [x[test] for x in inputs], tensors[test], np.asarray(losses), len(train), rng_key)


@eqx.filter_jit
def _train(surrogate, inputs, tensors, keys, num_steps, batch_size, learning_rate):
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    arrays, static = eqx.partition(surrogate, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(arrays)

    def loss_fn(arrays, rows):
        member = eqx.combine(arrays, static)
        return -jnp.mean(member.log_prob(tensors[rows], *[x[rows] for x in inputs]))

    def one(key):
        start_key, key = jax.random.split(key)
        # Other weights: each is drawn anew about zero with the scale of its array.
        start = _redrawn(arrays, start_key)

        def step(carry, key):
            arrays, state = carry
            rows = jax.random.randint(key, (min(batch_size, len(tensors)),), 0, len(tensors))
            loss, slope = jax.value_and_grad(loss_fn)(arrays, rows)
            updates, state = optimizer.update(slope, state)
            return (optax.apply_updates(arrays, updates), state), loss

        (arrays_, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(key, num_steps))
        return eqx.combine(arrays_, static), losses

    del flat, unravel
    return eqx.filter_vmap(one)(keys)


def _redrawn(arrays, key):
    leaves, structure = jax.tree.flatten(arrays)
    keys = jax.random.split(key, len(leaves))
    leaves = [
        x + (x.ndim > 1) * jnp.std(x) * jax.random.normal(k, x.shape, x.dtype) / 2
        for x, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, leaves)


@eqx.filter_jit
def _on_test(value, inputs, tensors, key):
    expected, drawn = value.mean(*inputs), value.sample(key, *inputs)
    return expected, drawn, value.standardize(tensors, *inputs), value.log_prob(tensors, *inputs)


def _judge(value, inputs, tensors, losses, num_pairs, key):
    expected, drawn, residuals, log_prob = map(np.asarray, _on_test(value, inputs, tensors, key))
    norm = np.linalg.norm(tensors, axis=(-2, -1))

    def percent(found):
        return 100 * math.sqrt(np.mean((np.linalg.norm(found - expected, axis=(-2, -1)) / norm) ** 2))

    return SurrogateFit(
        value, percent(np.asarray(tensors)), percent(drawn), residuals, float(log_prob.mean()), losses, num_pairs
    )


def _check(inputs, tensors):
    nums = [len(x) for x in (*inputs, tensors)]
    if len(set(nums)) > 1:
        raise ValueError(f"Inputs and tensors have their cells along the first axis; got {nums} of them.")
    if len(tensors) < 20:
        raise ValueError(f"A surrogate is trained on at least 20 cells, better hundreds; got {len(tensors)}.")
    if not all(bool(jnp.all(jnp.isfinite(x))) for x in (*inputs, tensors)):
        raise ValueError("Inputs or tensors are not finite: leave out the cells that have failed.")
    if bool(jnp.all(tensors == tensors[:1])):
        raise ValueError("All tensors are equal: there is nothing to learn. Do the inputs vary?")
