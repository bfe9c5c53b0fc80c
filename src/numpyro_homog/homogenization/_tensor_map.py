"""Any linear law that is given as a function from gradient to flux, as JAX-FEM problems have it."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from ._law import AbstractGradientLaw, Coefficients, tensor_coefficients
from ._moduli import mandel_basis, volumetric
from ._tensor_fields import Geometry, as_real_array, field_axes


class TensorMapLaw(AbstractGradientLaw):
    """A linear law given as a function (gradient, *properties) -> flux.

    JAX-FEM writes laws so: `TensorMapLaw(problem.get_tensor_map(), num_components=vec)` uses that of a
    `jax_fem.problem.Problem`. The gradient and the flux have shape (num_components, d). The field is a tuple with one
    array (*batch, *grid) for each property; the function sees the scalars of one voxel. Its matrix is found by
    automatic differentiation, once in each voxel.

    The effective tensor has shape (*batch, m, m): m = d for a potential; Mandel components of strain and stress for a
    displacement if `symmetric`; otherwise m = num_components d, the gradient row by row.

    Args:
        tensor_map: the function; linear in the gradient, with a symmetric positive definite matrix. Defined once, so
            that equal laws are one object: it is part of the hash of the cell.
        num_components: components of the unknown (`vec` in JAX-FEM).
        symmetric: the function depends on the symmetric part of the gradient alone. Default: yes for a vector.

    Raises:
        TypeError, ValueError: at construction or trace time, for arguments or fields that are not as described. A law
            that is not linear or not symmetric is flagged like a bad coefficient.

    Costs what `LinearElasticity` costs on Mandel fields, and one evaluation of the Jacobian in each voxel.
    """

    tensor_map: Callable = eqx.field(static=True)
    components: int = eqx.field(static=True)
    symmetric: bool = eqx.field(static=True)

    def __init__(self, tensor_map: Callable, *, num_components: int = 1, symmetric: bool | None = None):
        if not callable(tensor_map):
            raise TypeError(f"tensor_map must be a function (gradient, *properties) -> flux; got {tensor_map!r}.")
        if num_components < 1:
            raise ValueError(f"num_components must be a positive integer; got {num_components}.")
        self.tensor_map, self.components = tensor_map, int(num_components)
        self.symmetric = num_components > 1 if symmetric is None else bool(symmetric)
        if self.symmetric and self.components == 1:
            raise ValueError("A potential has no symmetric gradient; leave symmetric out.")

    def basis(self, ndim: int) -> np.ndarray:
        """Mandel strains, or the gradient row by row."""
        if self.symmetric and self.components != ndim:
            raise ValueError(f"A displacement in {ndim} dimensions has {ndim} components; got {self.components}.")
        if self.symmetric:
            return mandel_basis(ndim)
        return np.eye(self.components * ndim).reshape(-1, self.components, ndim)

    @property
    def symmetric_gradient(self) -> bool:
        return self.symmetric

    def reference_mode(self, ndim: int) -> np.ndarray:
        """Volumetric for displacements."""
        trace = volumetric(ndim) if self.symmetric else np.zeros(self.num_loads(ndim))
        return np.outer(trace, trace)

    def coefficients(self, field: PyTree, grid: Geometry) -> Coefficients:
        """The matrix of the law in each voxel, from the properties."""
        fields = field if isinstance(field, tuple | list) else (field,)
        parts = [as_real_array(part, "one array for each property of the law") for part in fields]
        dtype, d = jnp.result_type(*parts), grid.ndim
        parts, shape = [part.astype(dtype) for part in parts], parts[0].shape
        if any(part.shape != shape for part in parts) or shape[-len(grid.shape) :] != grid.shape:
            raise ValueError(
                f"The properties have shapes {[p.shape for p in parts]}; expected one shape (*batch, *grid) with"
                f" cell.grid {grid.shape} for all."
            )
        basis = jnp.asarray(self.basis(d), dtype)
        scalars = [jax.ShapeDtypeStruct((), part.dtype) for part in parts]
        flux = jax.eval_shape(self.tensor_map, jax.ShapeDtypeStruct(basis.shape[1:], basis.dtype), *scalars)
        if getattr(flux, "shape", None) != basis.shape[1:]:
            raise ValueError(
                f"tensor_map must return a flux of the shape of the gradient, (num_components, d) = {basis.shape[1:]};"
                f" it returns {flux}."
            )
        probe = jnp.asarray(np.random.default_rng(0).standard_normal((self.components, d)), dtype)
        probe = jnp.tensordot(jnp.tensordot(basis, probe, 2), basis, (0, 0))

        def matrix(*properties: Array) -> tuple[Array, Array]:
            flux = lambda gradient: self.tensor_map(gradient, *properties)  # noqa: E731
            zero = jnp.zeros_like(probe)
            # One column for each unit strain.
            columns = jax.vmap(lambda unit: jax.jvp(flux, (zero,), (unit,))[1])(basis)
            linear = jnp.tensordot(jnp.tensordot(basis, probe, 2), columns, (0, 0))
            error = jnp.max(jnp.abs(flux(probe) - linear)) / jnp.max(jnp.abs(linear))
            return jnp.tensordot(columns, basis, ((1, 2), (1, 2))).T, error

        matrices, errors = jax.vmap(matrix)(*(part.reshape(-1) for part in parts))
        field = matrices.reshape(*shape, *matrices.shape[1:])
        coefficients = tensor_coefficients(field, grid, self.reference_mode(d))
        error = jnp.max(jax.lax.stop_gradient(errors).reshape(shape), axis=field_axes(grid))
        linear = error <= float(jnp.finfo(error.dtype).eps) ** 0.5
        return eqx.tree_at(lambda c: c.valid, coefficients, coefficients.valid & linear)
