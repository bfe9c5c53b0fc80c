"""Elastic phases that share voxels, before a law has said in which plane state."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..meshes import Mesh
from ._moduli import Lame, Plane, isotropic_stiffness
from ._tensor_fields import HINT_OF_MIX, Geometry


class ElasticMixture(eqx.Module):
    """Elastic phases and their mixing rule, a field for `LinearElasticity` made by `mix`.

    The moduli of a plane problem are not those of the material, and the mean of the one is not the other of the mean.
    So nothing is mixed here: the law turns the moduli of the phases into those of its own plane state and then applies
    the rule. `stiffness` does the same to look at the result.

    Attributes:
        phases: volume fractions, shape (*batch, *grid, J).
        moduli: Lame parameters of the phases, each of shape (*batch, J).
        rule: the mixing rule, static.
        spacing: edge lengths of a voxel, one for each grid axis, static.
    """

    phases: Float[Array, "*batch_and_grid J"]
    moduli: Lame
    rule: Any = eqx.field(static=True)
    spacing: tuple[float, ...] = eqx.field(static=True)

    def stiffness(self, plane: Plane = "strain") -> Float[Array, "*batch_and_grid m m"]:
        """Stiffness of each voxel in Mandel notation, shape (*batch, *grid, m, m); in 2D of a plane state."""
        mixed = self.mixed(plane)
        return isotropic_stiffness(*mixed, len(self.spacing)) if isinstance(mixed, tuple) else mixed

    def mixed(self, plane: Plane) -> tuple[Array, Array] | Array:
        """What the rule makes of the moduli of the plane problem: a pair of fields, or Mandel matrices."""
        fractions, lame, shear = self.by_phase(*self.moduli.of_plane(plane))
        return self.rule.mix_elastic(fractions, lame, shear, self.spacing)

    def thermal_stress(self, expansion: Array, plane: Plane) -> Float[Array, "*batch_and_grid m"]:
        """C alpha of each voxel, Mandel, (*batch, *grid, m), for linear expansions of the phases, shape (*batch, J)."""
        shape = self.moduli.lame_lambda.shape
        if expansion.shape[-1:] != shape[-1:] or jnp.broadcast_shapes(expansion.shape, shape) != shape:
            raise ValueError(
                f"expansion has shape {expansion.shape}, but the mixture has {shape[-1]} phases and the batch axes"
                f" {shape[:-1]}; pass one coefficient of linear expansion for each phase, (*batch, {shape[-1]})."
            )
        expansion = jnp.broadcast_to(expansion.astype(self.phases.dtype), shape)
        pressure = self.moduli.thermal_modulus(plane) * expansion
        fractions, stresses, lame, shear = self.by_phase(pressure, *self.moduli.of_plane(plane))
        return self.rule.mix_thermal_stress(fractions, stresses, lame, shear, self.spacing)

    def by_phase(self, *properties: Array) -> list[list[Array]]:
        """One list over the phases for the fractions, (*batch, *grid), and for each property (*batch, J)."""
        axes = tuple(range(-len(self.spacing), 0))
        numbers = range(self.phases.shape[-1])
        parts = [[jnp.expand_dims(part[..., j], axes) for j in numbers] for part in properties]
        return [[self.phases[..., j] for j in numbers], *parts]

    def check(self, grid: Geometry) -> None:
        """Raise ValueError unless the fractions lie on this grid."""
        d = len(self.spacing)
        if grid.ndim == d and self.phases.shape[-1 - d : -1] == grid.shape:
            if isinstance(grid, Mesh) or np.ptp(stretch := np.divide(grid.spacing, self.spacing)) < 1e-6 * stretch[0]:
                return
            raise ValueError(
                f"field mixes phases on voxels of edges in the ratio {self.spacing}, but those of cell.grid are"
                f" {grid.spacing}, and interfaces lie otherwise: pass mix(..., grid=cell.grid)."
            )
        raise ValueError(
            f"field mixes phases of shape {self.phases.shape} on {d} grid axes, but cell.grid is {grid.shape}: pass"
            f" fractions on cell.grid, and mix(..., grid=cell.grid).{HINT_OF_MIX * (grid.ndim == 3 > d)}"
        )
