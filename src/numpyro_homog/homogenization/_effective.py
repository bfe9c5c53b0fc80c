"""`effective_tensor` and the interface of everything that can answer it."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree


class AbstractCell(eqx.Module):
    """A cell whose effective tensor can be computed from a field.

    To add one, subclass it as a frozen Equinox module and implement `compute_effective`: check the field's
    shape with a clear `ValueError`, and return tensors that can be differentiated by JAX in both modes.
    """

    @abc.abstractmethod
    def compute_effective(
        self, field: PyTree, *, throw: bool = True, progress: bool = False
    ) -> Float[Array, "*batch d d"]:
        """Effective tensors of `field`; members that fail raise if `throw`, and are NaN otherwise."""


def effective_tensor(
    cell: AbstractCell, field: PyTree, *, throw: bool = True, progress: bool = False
) -> Float[Array, "*batch d d"]:
    """Effective tensor of a cell, batched and differentiable in the field.

    Args:
        cell: the cell problem; `CellProblem` for finite elements, `LaminateCell` and `CheckerboardCell` in closed form.
        field: the heterogeneous property, as the cell expects it: for `CellProblem` shape (*batch, *grid) (isotropic)
            or (*batch, *grid, d, d) (anisotropic, symmetric positive definite), > 0.
        throw: raise if a member fails (bad coefficient, solver not converged). With False its tensor is NaN, for
            samplers and optimisers that reject the point.
        progress: show a progress bar; only outside of JAX transformations, and of no effect for closed-form cells.

    Returns:
        Effective tensors, shape (*batch, d, d), in the unit of the field.

    Raises:
        ValueError: at call or trace time, if the shape or type of `field` does not fit the cell.
        RuntimeError: at run time, also under `jax.jit`, if a member fails and `throw` is true.

    Outside of transformations a large batch is cut into slices, so that memory is that of the field and of a few
    slices (NumPy arrays and memory maps are read slice by slice), and on a CPU the slices use all cores. Under
    `jax.jit` one core computes, chunk by chunk, in the memory of the field, one copy of it and a few chunks. The first
    derivative costs no further solve; reverse mode keeps the sensitivities of all voxels, as large as d (d + 1) / 2
    copies of the field.
    """
    return cell.compute_effective(field, throw=throw, progress=progress)


def reject(
    effective: Float[Array, "*batch d d"], bad: Bool[Array, "*batch"], throw: bool, advice: str
) -> Float[Array, "*batch d d"]:
    """The tensors, without those that are bad: an error at run time with `throw`, and NaN otherwise."""
    if throw:
        return eqx.error_if(effective, bad, advice)
    return jnp.where(bad[..., None, None], jnp.nan, effective)
