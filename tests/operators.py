"""The operators of a cell as matrices: where the tests look below the public seam of cell problems."""

import jax.numpy as jnp
import numpy as np

from numpyro_homog.homogenization._cell import discretize


def space_of(cell, field):
    """The finite-element space of a cell, and the coefficients of a field with one batch axis."""
    space, coefficients, _ = discretize(cell, field)
    return space, coefficients


def as_matrix(apply, num_components, nodes):
    """A linear map of unknowns (1, loads, components, *nodes), column by column: these travel as load cases."""
    size = num_components * int(np.prod(nodes))
    unit = jnp.eye(size).reshape(1, size, num_components, *nodes)
    return np.asarray(apply(unit)).reshape(size, size).T
