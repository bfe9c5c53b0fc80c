"""The paper's way with section 6: a network for the mean tensor of ten realisations, refreshed while Adam descends.

Its published loop (arXiv 2604.14083, equation 36) without its lost settings: those here are ours. The network learns
the map from fractions and conductivities to the mean tensor, by squared errors at pairs drawn along the way; Adam moves
the parameters down the sliced Wasserstein distance of its outputs from the data.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import numpyro_homog as nh

NUM_REALIZATIONS = 10
NUM_FIRST, NUM_ADDED, NUM_ROUNDS = 250, 50, 45  # evaluations of the mean tensor: 2500 in all
STEPS, NETWORK_STEPS, LAST_STEPS, BATCH = 200, 1000, 1000, 1000
NUM_PROJECTIONS = 16  # fresh ones in every step
JITTER = 0.1  # of log conductivities at new pairs; three times as much at the first ones


class Sizes(NamedTuple):
    """How long the loop is."""

    num_first: int = NUM_FIRST
    num_added: int = NUM_ADDED
    num_rounds: int = NUM_ROUNDS
    steps: int = STEPS
    network_steps: int = NETWORK_STEPS
    last_steps: int = LAST_STEPS

    @property
    def evaluations(self) -> int:
        """Evaluations of the mean tensor in one restart."""
        return self.num_first + self.num_rounds * self.num_added


def mean_tensor(n: int, num_seeds: int) -> Callable:
    """(fractions, conductivities, key) -> components of the mean tensor of ten cells, shape (num, 3)."""
    cell = nh.CellProblem(nh.Grid((n, n)), nh.Conductivity(), nh.Periodic(), tolerance=1e-4)

    @jax.jit
    def one(fractions, kappa, key):
        phases = nh.VoronoiPhases(cell.grid, fractions, num_seeds).sample(key, (NUM_REALIZATIONS,))
        return nh.tensors.unique_components(jnp.mean(nh.effective_tensor(cell, nh.mix(phases, kappa)), axis=0))

    def many(fractions, kappa, key):
        return jnp.stack([one(*pair) for pair in zip(fractions, kappa, jax.random.split(key, len(kappa)), strict=True)])

    return many


class Network(eqx.Module):
    """Mean tensor from fractions and logarithms of conductivities; scales with the conductivities."""

    mlp: eqx.nn.MLP

    def __call__(self, fractions, log_kappa):
        mean = jnp.mean(log_kappa)
        return jnp.exp(mean) * self.mlp(jnp.concatenate([fractions, log_kappa - mean]))


def descend(data: np.ndarray, evaluate: Callable, rng_key: jax.Array, sizes: Sizes) -> tuple[np.ndarray, float]:
    """One restart: logarithms of (alpha, kappa), shape (2, 3), and the mean loss of the last hundred steps."""
    data, scale = jnp.asarray(data), jnp.std(jnp.asarray(data), axis=0)
    start_key, first_key, network_key, loop_key = jax.random.split(rng_key, 4)
    low, high = jnp.log(jnp.array([[0.3], [0.5]])), jnp.log(jnp.array([[6.0], [20.0]]))
    theta = low + (high - low) * jax.random.uniform(start_key, (2, 3))
    network = Network(eqx.nn.MLP(6, 3, 64, 3, activation=jax.nn.silu, key=network_key))
    params, static = eqx.partition(network, eqx.is_array)
    total = sizes.num_rounds * sizes.steps + sizes.last_steps
    quarters = optax.exponential_decay(1e-2, total // 4, 0.5, staircase=True)
    theta_adam, network_adam = optax.adam(quarters), optax.adam(1e-3)
    theta_state, network_state = theta_adam.init(theta), network_adam.init(params)
    divergence = nh.SlicedWasserstein(NUM_PROJECTIONS)

    @eqx.filter_jit
    def move(theta, state, params, keys):
        def loss(theta, key):
            draw_key, divergence_key = jax.random.split(key)
            fractions = jax.random.dirichlet(draw_key, jnp.exp(theta[0]), (BATCH,))
            cloud = jax.vmap(eqx.combine(params, static), (0, None))(fractions, theta[1])
            return divergence(cloud / scale, data / scale, rng_key=divergence_key)

        def step(carry, key):
            theta, state = carry
            value, slope = jax.value_and_grad(loss)(theta, key)
            updates, state = theta_adam.update(slope, state)
            return (optax.apply_updates(theta, updates), state), value

        (theta, state), losses = jax.lax.scan(step, (theta, state), keys)
        return theta, state, losses

    @eqx.filter_jit
    def train(params, state, inputs, outputs, num, key):
        def loss(params, rows):
            found = jax.vmap(eqx.combine(params, static))(inputs[rows, :3], inputs[rows, 3:])
            return jnp.mean(((found - outputs[rows]) / scale) ** 2)

        def step(carry, key):
            params, state = carry
            slope = jax.grad(loss)(params, jax.random.randint(key, (256,), 0, num))
            updates, state = network_adam.update(slope, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), jax.random.split(key, sizes.network_steps))[0]

    inputs, outputs = np.zeros((sizes.evaluations, 6), np.float32), np.zeros((sizes.evaluations, 3), np.float32)

    def add(first, last, theta, jitter, key):
        fraction_key, kappa_key, cell_key = jax.random.split(key, 3)
        fractions = jax.random.dirichlet(fraction_key, jnp.exp(theta[0]), (last - first,))
        log_kappa = theta[1] + jitter * jax.random.normal(kappa_key, (last - first, 3))
        inputs[first:last] = np.concatenate([fractions, log_kappa], axis=1)
        outputs[first:last] = np.asarray(evaluate(fractions, jnp.exp(log_kappa), cell_key))

    add(0, sizes.num_first, theta, 3 * JITTER, first_key)
    num = sizes.num_first
    for key in jax.random.split(loop_key, sizes.num_rounds):
        train_key, move_key, add_key = jax.random.split(key, 3)
        params, network_state = train(params, network_state, inputs, outputs, jnp.asarray(num), train_key)
        theta, theta_state, _ = move(theta, theta_state, params, jax.random.split(move_key, sizes.steps))
        add(num, num + sizes.num_added, theta, JITTER, add_key)
        num += sizes.num_added
    params, _ = train(params, network_state, inputs, outputs, jnp.asarray(num), rng_key)
    theta, _, losses = move(theta, theta_state, params, jax.random.split(start_key, sizes.last_steps))
    return np.asarray(theta, float), float(jnp.mean(losses[-100:]))


def fit_mean_tensor(data: np.ndarray, n: int, num_seeds: int, rng_key: jax.Array, num_restarts: int, sizes: Sizes):
    """The best of some restarts: alpha and kappa in the order of kappa, and the number of cells solved."""
    evaluate = mean_tensor(n, num_seeds)
    ends = []
    for key in jax.random.split(rng_key, num_restarts):
        ends.append(descend(data, evaluate, key, sizes))
        print("   ", *(np.exp(part).round(3) for part in ends[-1][0]), f"loss {ends[-1][1]:.3e}", flush=True)
    alpha, kappa = np.exp(min(ends, key=lambda end: end[1])[0])
    order = np.argsort(kappa)
    return alpha[order], kappa[order], num_restarts * NUM_REALIZATIONS * sizes.evaluations
