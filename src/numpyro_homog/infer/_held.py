"""Populations with the scored sites held: models of the divergence that need no further solve."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ._level import LeastSquares
from ._levenberg_marquardt import Evaluation
from ._problem import Data, Problem, Simulated


class Held:
    """The divergence of populations that were drawn once, each at a position of its own, as a function of the position.

    Scored sites are held at what they drew, and at other positions the specimens have the weights of their densities:
    no label flips. What acts by path moves the clouds as `Problem.extrapolate` says. So the divergence is as smooth as
    its derivative says, and exact in what acts by score alone. Far away few weights are left, and their noise raises
    it. All populations together are one cloud, in which each has the same mass.

    Args:
        level: what simulates.
        draws: position and key of each population.
    """

    def __init__(self, level: LeastSquares, draws: Sequence[tuple[np.ndarray, jax.Array]]):
        self._level, self._draws = level, list(draws)
        self._bases: list[Simulated] | None = None

    @classmethod
    def at(cls, level: LeastSquares, position: np.ndarray, number: int | None = None) -> "Held":
        """One population, drawn at `position`; its number as in `LeastSquares.key_of`."""
        return cls(level, [(position, level.key_of(number))])

    @classmethod
    def join(cls, parts: Sequence["Held"]) -> "Held":
        """All populations of the parts."""
        whole = cls(parts[0]._level, [draw for part in parts for draw in part._draws])
        whole._bases = [base for part in parts for base in part._simulated()]
        return whole

    def __call__(self, vector: np.ndarray) -> Evaluation:
        """Linearise at an unconstrained position."""
        found = self._level.problem.call(("held", len(self._draws)), self._linearize, *self._arguments(vector))
        return Evaluation(*(np.asarray(part, float) for part in found))

    def influence(self, vector: np.ndarray) -> np.ndarray:
        """Influence of each data specimen on the gradient at a position, shape (N, P)."""
        name = ("influence of held", len(self._draws))
        return np.asarray(self._level.problem.call(name, self._influence, *self._arguments(vector)), float)

    def _simulated(self):
        if self._bases is None:
            self._bases = [self._level.simulate(*draw) for draw in self._draws]
        return self._bases

    def _arguments(self, vector):
        positions, keys = (jnp.stack(part) for part in zip(*self._draws, strict=True))
        bases = jax.tree.map(lambda *parts: jnp.stack(parts), *self._simulated())
        return jnp.asarray(vector), (positions, keys, bases), self._level.divergence_key, self._level.data

    def _linearize(self, vector, draws, divergence_key, data: Data):
        whole, weights = _moved(self._level.problem, vector, draws)
        return self._level.problem.linearize(whole, divergence_key, data.cloud, log_weights=weights)

    def _influence(self, vector, draws, divergence_key, data: Data):
        (cloud, tangents, scores), weights = _moved(self._level.problem, vector, draws)
        options = {"scores": scores, "log_weights": weights}
        divergence = self._level.problem.least_squares
        return divergence.influence(cloud, tangents, data.cloud, rng_key=divergence_key, **options)


def _moved(problem: Problem, vector, draws):
    """All populations at a vector, shapes (R M, ...), and their log weights, (R M,)."""

    def one(draw):
        position, rng_key, base = draw
        scores, weights = (part[: base.cloud.shape[0]] for part in problem.reweigh(vector, position, rng_key))
        weights = jax.nn.log_softmax(weights)
        # Each population keeps its mass.
        scores -= jnp.exp(weights) @ scores
        return Simulated(*problem.extrapolate(vector, position, base), scores), weights

    parts = jax.lax.map(one, draws)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), parts)
