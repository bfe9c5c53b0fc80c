"""`FractionSurrogate`: the tensor of a cell of many grains, given the fractions and properties of its phases."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..homogenization import AbstractCell, CellProblem, Conductivity, LinearElasticity, PrimalDual, self_consistent
from ._laws import LogEuclideanLaw, tensor_basis
from ._surrogate import AbstractSurrogate, digest_of_cell


class FractionSurrogate(AbstractSurrogate):
    """Law of the tensor of a cell of many grains, given fractions and properties of phases.

    With z the components of log K less log K_sc, the self-consistent estimate (see `self_consistent`),

        z = V (m, 0) + sqrt(V / G) L e,    e ~ (1 - w) Normal(0, 1) + w Normal(0, c^2),

    where the isotropic parts m and the scales of L are networks of the moments sum_j f_j t_j^p and sum_j f_j^2 t_j^p of
    t_j = tanh((log k_j - log k_sc) / 2), and V = sum_j f_j t_j^2. So it is exact, whatever the networks are, that

    - numbering the phases otherwise changes nothing, nor does a phase of fraction zero;
    - the tensor scales with the properties;
    - a single phase, or phases all equal, have its tensor and no spread;
    - draws are positive definite, and the variance is proportional to 1 / G, of the number of grains;
    - with `PrimalDual` the tensor of 1 / k is the inverse of that of k, turned by a right angle.

    Args:
        cell: the cell problem, of `Conductivity` or `LinearElasticity` in two or three dimensions.
        num_grains: number G of grains in the cell, as large as it takes for fluctuations to be small.
        rng_key: key of the initial weights.
        width: width of the two networks.
        depth: number of their hidden layers.

    Inputs of the methods: fractions, shape (*batch, J), >= 0 with sum one; conductivities, shape (*batch, J), > 0, or
    for elasticity bulk moduli and shear moduli (in two dimensions the area modulus lambda + mu), two such arrays.

    What it does not do: it knows no geometry but that of the cells it was trained on, and nothing of single grains.

    Raises:
        TypeError, ValueError: at construction, for a cell of another law or without a grid of two or three dimensions.
    """

    locations: eqx.nn.MLP
    scales: eqx.nn.MLP
    correlations: Float[Array, "pairs"]
    tails: Float[Array, "2"]
    num_grains: int = eqx.field(static=True)
    ndim: int = eqx.field(static=True)
    is_elastic: bool = eqx.field(static=True)
    is_dual: bool = eqx.field(static=True)
    cell_digest: str = eqx.field(static=True)

    def __init__(self, cell: AbstractCell, num_grains: int, *, rng_key: Array, width: int = 48, depth: int = 2):
        law = getattr(cell, "law", None)
        if not isinstance(cell, CellProblem) or not isinstance(law, Conductivity | LinearElasticity):
            raise TypeError(f"FractionSurrogate knows a CellProblem of Conductivity or LinearElasticity; got {cell!r}.")
        ndim = cell.grid.ndim
        if ndim not in (2, 3):
            raise ValueError(f"FractionSurrogate knows grids of two or three dimensions; got {cell!r}.")
        if int(num_grains) != num_grains or num_grains < 1:
            raise ValueError(f"num_grains must be a positive integer; got {num_grains!r}.")
        self.num_grains, self.ndim = int(num_grains), cell.grid.ndim
        self.is_elastic = isinstance(law, LinearElasticity)
        self.is_dual = isinstance(cell.discretization, PrimalDual)
        self.cell_digest = digest_of_cell(cell)
        num_properties = 2 if self.is_elastic else 1
        num_features = len(_features(jnp.ones(2) / 2, jnp.ones((num_properties, 2)), jnp.ones(num_properties)))
        size = len(tensor_basis(self.ndim, self.is_elastic))
        first, second = jax.random.split(rng_key)

        def network(outputs: int, key: Array) -> eqx.nn.MLP:
            found = eqx.nn.MLP(num_features, outputs, width, depth, activation=jax.nn.silu, key=key)
            small = (0.1 * found.layers[-1].weight, jnp.zeros(outputs))
            return eqx.tree_at(lambda mlp: (mlp.layers[-1].weight, mlp.layers[-1].bias), found, small)

        self.locations, self.scales = network(num_properties, first), network(size, second)
        self.correlations = jnp.zeros(size * (size - 1) // 2 if self.is_elastic else 0)
        self.tails = jnp.array([-3.0, 0.5])

    def given(self, *inputs: Array) -> LogEuclideanLaw:
        """The law of the tensors: fractions first, then the properties."""
        if len(inputs) != 2 + self.is_elastic or len({jnp.shape(x)[-1:] for x in inputs}) > 1:
            what = "bulk and shear moduli" if self.is_elastic else "conductivities"
            raise ValueError(
                f"The inputs of this surrogate are fractions and {what}, phases last; got"
                f" {[jnp.shape(x) for x in inputs]}."
            )
        fractions, *properties = jnp.broadcast_arrays(*inputs)
        given: Any = tuple(properties) if self.is_elastic else properties[0]
        medium = jnp.stack(jax.tree.leaves(self_consistent(fractions, given, ndim=self.ndim)), axis=-1)
        logs = jnp.log(jnp.stack(properties, axis=-2)) - jnp.log(medium)[..., None]
        contrasts = jnp.tanh(logs / 2)
        spread = jnp.sum(fractions[..., None, :] * contrasts**2, axis=(-2, -1))
        one = jnp.vectorize(self._networks, signature="(j),(i,j),(i)->(m),(s)")
        location, log_scales = one(fractions, contrasts, jnp.log(medium))
        tiny = jnp.finfo(spread.dtype).tiny ** 0.5
        log_scales = log_scales + 0.5 * jnp.log(jnp.maximum(spread, tiny) / self.num_grains)[..., None]
        # log K of an isotropic medium is a sum of the first basis tensors, which have these norms.
        norms = jnp.asarray(_norms(self.ndim, self.is_elastic), location.dtype)
        location = norms * (
            location * spread[..., None]
            + jnp.log(medium)
            + jnp.asarray(_log_factors(self.ndim, self.is_elastic), medium.dtype)
        )
        rest = log_scales.shape[-1] - location.shape[-1]
        location = jnp.concatenate([location, jnp.zeros((*location.shape[:-1], rest), location.dtype)], axis=-1)
        return LogEuclideanLaw(location, log_scales, self.correlations, self.tails, self.ndim, self.is_elastic)

    def _networks(
        self, fractions: Float[Array, " J"], contrasts: Float[Array, "properties J"], log_medium: Float[Array, " m"]
    ) -> tuple[Array, Array]:
        features = _features(fractions, contrasts, log_medium)
        if not self.is_dual:
            return self.locations(features), self.scales(features)
        dual = _features(fractions, -contrasts, log_medium)
        return (self.locations(features) - self.locations(dual)) / 2, (self.scales(features) + self.scales(dual)) / 2


def _features(
    fractions: Float[Array, " J"], contrasts: Float[Array, "properties J"], log_medium: Float[Array, " properties"]
) -> Float[Array, " features"]:
    """Moments of the contrasts, divided by the second one where it is there; with two properties their ratio too."""
    powers = [p for p in itertools.product(range(6), repeat=len(contrasts)) if 2 <= sum(p) <= 7 - 2 * len(contrasts)]
    monomials = [math.prod(row**p for row, p in zip(contrasts, power, strict=True)) for power in powers]
    moments = jnp.stack([jnp.sum(fractions * x) for x in monomials])
    spread = jnp.sum(fractions * contrasts**2)
    safe = jnp.where(spread > 0, spread, 1)
    squares = [jnp.sum(fractions**2), *(jnp.sum(fractions**2 * row) for row in contrasts)]
    squares += [jnp.sum(fractions**2 * x) for power, x in zip(powers, monomials, strict=True) if sum(power) == 2]
    return jnp.concatenate([moments, moments / safe, jnp.stack(squares), jnp.diff(log_medium)])


def _norms(ndim: int, is_elastic: bool) -> list[float]:
    """Norms of the projectors on the isotropic parts."""
    return [1.0, math.sqrt(ndim * (ndim + 1) / 2 - 1)] if is_elastic else [math.sqrt(ndim)]


def _log_factors(ndim: int, is_elastic: bool) -> Float[np.ndarray, " properties"]:
    """Logarithms of the factors of the moduli in the tensor: d K and 2 G."""
    return np.log([ndim, 2.0]) if is_elastic else np.zeros(1)
