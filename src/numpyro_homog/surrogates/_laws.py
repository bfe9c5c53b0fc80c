"""Laws of random tensors: what surrogates answer."""

import abc
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..tensors import logarithm_log_determinant, matrix_exponential, matrix_logarithm, symmetrize


class AbstractTensorLaw(eqx.Module):
    """The law of a symmetric positive definite tensor, or of a batch of them.

    To add one, subclass it as an Equinox module with these methods; the batch axes of its arrays broadcast with
    those of the tensors.
    """

    @abc.abstractmethod
    def log_prob(self, tensors: Float[Array, "*batch d d"]) -> Float[Array, "*shape"]:
        """Log density of the unique components."""

    @abc.abstractmethod
    def sample(self, rng_key: Array) -> Float[Array, "*shape d d"]:
        """One tensor for each member of the batch; smooth in the arrays of the law while the key is held."""

    @abc.abstractmethod
    def mean(self) -> Float[Array, "*shape d d"]:
        """Expected tensor."""

    @abc.abstractmethod
    def standardize(self, tensors: Float[Array, "*batch d d"]) -> Float[Array, "*shape components"]:
        """Residuals that are independent, with mean zero and variance one, if the tensors have this law."""


class LogEuclideanLaw(AbstractTensorLaw):
    """A law of the logarithm of tensors that is nearly normal.

    Its components z in `tensor_basis` are z = location + exp(log_scales) * L e, L triangular with unit diagonal, and

        e ~ (1 - w) Normal(0, 1) + w Normal(0, c^2):    now and then all are wider.

    Args:
        location: shape (*batch, components).
        log_scales: the same shape.
        lower: entries of L below its diagonal, row by row, shape (components (components - 1) / 2,); none: L = 1.
        tails: logits of w, and c = exp(softplus(...)), shape (2,).
        ndim: number of space dimensions.
        is_elastic: whether tensors are Mandel matrices.

    References:
        Arsigny et al., SIAM J. Matrix Anal. Appl. 29 (2007), for the logarithm.
    """

    location: Float[Array, "*batch components"]
    log_scales: Float[Array, "*batch components"]
    lower: Float[Array, " pairs"]
    tails: Float[Array, "2"]
    ndim: int = eqx.field(static=True)
    is_elastic: bool = eqx.field(static=True)

    def log_prob(self, tensors):
        residuals, (log_weight, log_rest, log_ratio) = self._residuals(tensors), self._tail()
        size, squares = residuals.shape[-1], jnp.sum(residuals**2, axis=-1)
        wide = log_weight - size * log_ratio - squares / 2 * jnp.exp(-2 * log_ratio)
        log_density = jnp.logaddexp(log_rest - squares / 2, wide) - jnp.sum(self.log_scales, axis=-1)
        # The basis is orthonormal: off-diagonal entries count twice in it.
        d = tensors.shape[-1]
        constant = d * (d - 1) / 4 * math.log(2) - size / 2 * math.log(2 * math.pi)
        return log_density + logarithm_log_determinant(tensors) + constant

    def sample(self, rng_key):
        normal_key, tail_key = jax.random.split(rng_key)
        log_weight, _, log_ratio = self._tail()
        noise = jax.random.normal(normal_key, self.location.shape, self.location.dtype)
        is_wide = jnp.log(jax.random.uniform(tail_key, (*noise.shape[:-1], 1), noise.dtype)) < log_weight
        noise = self._correlate(noise * jnp.where(is_wide, jnp.exp(log_ratio), 1))
        return matrix_exponential(self._matrices(self.location + jnp.exp(self.log_scales) * noise))

    def mean(self):
        """Expected tensor, to second order in the spread."""
        factor = (
            jnp.exp(self.log_scales)[..., None]
            * self._correlate(jnp.eye(self.location.shape[-1], dtype=self.location.dtype)).T
        )
        parts = jnp.einsum("...ab,aij->...bij", factor, self._basis())
        square = self._deviation() ** 2 * jnp.einsum("...bij,...bjk->...ik", parts, parts)
        return matrix_exponential(self._matrices(self.location) + symmetrize(square) / 2)

    def standardize(self, tensors):
        return self._residuals(tensors) / self._deviation()

    def _residuals(self, tensors: Float[Array, "*batch d d"]) -> Float[Array, "*shape components"]:
        components = jnp.einsum("...ij,aij->...a", matrix_logarithm(tensors), self._basis())
        residuals = (components - self.location) * jnp.exp(-self.log_scales)
        if not self.lower.size:
            return residuals
        inverse = jax.scipy.linalg.solve_triangular(
            self._unit_lower(), jnp.eye(residuals.shape[-1], dtype=self.lower.dtype), lower=True
        )
        return residuals @ inverse.T

    def _tail(self) -> tuple[Array, Array, Array]:
        """Logarithms of w, 1 - w and c."""
        return jax.nn.log_sigmoid(self.tails[0]), jax.nn.log_sigmoid(-self.tails[0]), jax.nn.softplus(self.tails[1])

    def _deviation(self) -> Float[Array, ""]:
        """Standard deviation of e."""
        log_weight, log_rest, log_ratio = self._tail()
        return jnp.sqrt(jnp.exp(log_rest) + jnp.exp(log_weight + 2 * log_ratio))

    def _unit_lower(self) -> Float[Array, "components components"]:
        size = self.location.shape[-1]
        return jnp.eye(size, dtype=self.lower.dtype).at[np.tril_indices(size, -1)].set(self.lower)

    def _correlate(self, noise: Float[Array, "*batch components"]) -> Float[Array, "*batch components"]:
        return noise @ self._unit_lower().T if self.lower.size else noise

    def _matrices(self, components: Float[Array, "*batch components"]) -> Float[Array, "*batch d d"]:
        return jnp.einsum("...a,aij->...ij", components, self._basis())

    def _basis(self) -> Float[Array, "components d d"]:
        return jnp.asarray(tensor_basis(self.ndim, self.is_elastic), self.location.dtype)


class MixtureLaw(AbstractTensorLaw):
    """Laws of one kind in equal parts.

    Args:
        members: a law whose arrays have the members along a first axis.
    """

    members: AbstractTensorLaw

    def log_prob(self, tensors):
        each = eqx.filter_vmap(lambda member: member.log_prob(tensors))(self.members)
        return jax.scipy.special.logsumexp(each, axis=0) - math.log(len(each))

    def sample(self, rng_key):
        """Each tensor by a member of its own."""
        pick_key, rng_key = jax.random.split(rng_key)
        each = eqx.filter_vmap(lambda member: member.sample(rng_key))(self.members)
        chosen = jax.random.randint(pick_key, each.shape[1:-2], 0, len(each))
        return jnp.take_along_axis(each, chosen[None, ..., None, None], axis=0)[0]

    def mean(self):
        return jnp.mean(eqx.filter_vmap(lambda member: member.mean())(self.members), axis=0)

    def standardize(self, tensors):
        """Those of the members on average."""
        return jnp.mean(eqx.filter_vmap(lambda member: member.standardize(tensors))(self.members), axis=0)


def tensor_basis(ndim: int, is_elastic: bool) -> Float[np.ndarray, "components d d"]:
    """Orthonormal symmetric matrices, the isotropic ones first: volume and shear in elasticity, else the identity."""
    if is_elastic:
        size = ndim * (ndim + 1) // 2
        volume = np.zeros((size, size))
        volume[:ndim, :ndim] = 1 / ndim
        found = [volume, (np.eye(size) - volume) / math.sqrt(size - 1)]
    else:
        size, found = ndim, [np.eye(ndim) / math.sqrt(ndim)]
    for i, j in [(i, i) for i in range(size)] + list(itertools.combinations(range(size), 2)):
        rest = np.zeros((size, size))
        rest[i, j] = rest[j, i] = 1.0
        for _ in range(2):  # once more for rounding
            rest = rest - sum(np.sum(rest * other) * other for other in found)
        if (norm := np.linalg.norm(rest)) > 1e-6:
            found.append(rest / norm)
    return np.stack(found)
