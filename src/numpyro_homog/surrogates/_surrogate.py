"""What a surrogate is: the conditional law of a specimen's tensor."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._store import digest
from ..homogenization import AbstractCell
from ._laws import AbstractTensorLaw, MixtureLaw


class AbstractSurrogate(eqx.Module):
    """The law of the tensor of one specimen, given low-dimensional inputs of its cell.

    Inputs are arrays whose batch axes broadcast with each other and with those of tensors, and everything is
    differentiable in everything. To add one, subclass it as an Equinox module with `given` and the attribute
    `cell_digest`; `fit_surrogate` then trains it. `_fraction_surrogate.py` is the file to imitate.
    """

    cell_digest: eqx.AbstractVar[str]

    @abc.abstractmethod
    def given(self, *inputs: Array) -> AbstractTensorLaw:
        """The law of the tensors at these inputs."""

    def log_prob(self, tensors: Float[Array, "*batch d d"], *inputs: Array) -> Float[Array, "*shape"]:
        """Log density of the unique components of symmetric positive definite tensors."""
        return self.given(*inputs).log_prob(tensors)

    def sample(self, rng_key: Array, *inputs: Array) -> Float[Array, "*shape d d"]:
        """One tensor for each member of the batch; smooth in the inputs while the key is held."""
        return self.given(*inputs).sample(rng_key)

    def mean(self, *inputs: Array) -> Float[Array, "*shape d d"]:
        """Expected tensor."""
        return self.given(*inputs).mean()

    def standardize(self, tensors: Float[Array, "*batch d d"], *inputs: Array) -> Float[Array, "*shape components"]:
        """Residuals that are independent, with mean zero and variance one, where the surrogate is right."""
        return self.given(*inputs).standardize(tensors)

    def check_cell(self, cell: AbstractCell) -> None:
        """Raise ValueError if `cell` is not the one that this is a surrogate of."""
        if digest_of_cell(cell) != self.cell_digest:
            raise ValueError(f"This surrogate was made for another cell than {cell}: train one of this cell.")


class Ensemble(AbstractSurrogate):
    """Surrogates of one kind in equal parts; their spread tells what was not learned.

    Args:
        members: a surrogate whose arrays have the members along a first axis, as `eqx.filter_vmap` makes them.
    """

    members: AbstractSurrogate
    cell_digest: str = eqx.field(static=True)

    def __init__(self, members: AbstractSurrogate):
        self.members, self.cell_digest = members, members.cell_digest

    def given(self, *inputs):
        return MixtureLaw(eqx.filter_vmap(lambda member: member.given(*inputs))(self.members))

    def uncertainty(self, *inputs: Array) -> Float[Array, "*shape"]:
        """Relative standard deviation of the mean between members, in its trace."""
        means = eqx.filter_vmap(lambda member: member.mean(*inputs))(self.members)
        traces = jnp.trace(means, axis1=-2, axis2=-1)
        return jnp.std(traces, axis=0, ddof=1) / jnp.mean(traces, axis=0)


def digest_of_cell(cell: AbstractCell) -> str:
    """What a surrogate keeps of the cell that it was trained for."""
    leaves, structure = jax.tree.flatten(cell)
    return digest(str(structure), *map(np.asarray, leaves))
