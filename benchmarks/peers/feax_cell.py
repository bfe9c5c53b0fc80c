"""The periodic elastic cell with FEAX's own ``flat`` homogenization.

FEAX switches JAX to 64 bit when it is imported, and lives in an environment of its own:
`bench_physics.py` starts this in the interpreter that it is told. The mesh, the periodic
prolongation and the solver are FEAX's, the whole call is jitted, and Young's modulus is
one number per element, which is what its solver differentiates.
"""

import time
import warnings

import feax
import jax
import jax.numpy as jnp
import numpy as np
from feax.flat import pbc
from feax.flat.solver import create_homogenization_solver
from feax.flat.unitcell import UnitCell

from benchmarks.peers.cells import POISSON

#: its matrix-free conjugate gradients as they come, and as one would set them for a tolerance like ours
OPTIONS = {
    False: {"solver": "cg"},
    True: {"solver": "cg", "tol": 1e-4, "atol": 0.0, "use_jacobi_preconditioner": True},
}


class _Elasticity(feax.problem.Problem):
    """Isotropic, plane strain in 2D; Young's modulus by elements."""

    def get_tensor_map(self):
        def stress(gradient, young):
            shear = young / (2 * (1 + POISSON))
            lame = young * POISSON / ((1 + POISSON) * (1 - 2 * POISSON))
            strain = (gradient + gradient.T) / 2
            return lame * jnp.trace(strain) * jnp.eye(self.dim) + 2 * shear * strain

        return stress


class _Voxels(UnitCell):
    """n^ndim voxels; element k is voxel k in the order of the axes."""

    def mesh_build(self, n, ndim):
        return feax.mesh.rectangle_mesh(n, n) if ndim == 2 else feax.mesh.box_mesh(1.0, mesh_size=1 / n)


class Cell:
    """A cell of n^ndim voxels; the first call of each operation compiles.

    Args:
        n: voxels along each side, a power of two (its box mesh counts ``int(1 / mesh_size)``).
        ndim: 2 or 3.
        elastic: must be true; its homogenization knows nothing else.
        tuned: a preconditioner and a looser tolerance instead of its defaults.
    """

    def __init__(self, n: int, *, ndim: int = 2, elastic: bool = False, tuned: bool = False) -> None:
        if not elastic:
            raise ValueError("FEAX's homogenization is for elasticity")
        warnings.filterwarnings("ignore", message="feax:", category=FutureWarning)
        unit = _Voxels(n=n, ndim=ndim)
        self._order = _voxel_of_element(unit, n)
        problem = _Elasticity(mesh=unit.mesh, vec=ndim, dim=ndim, ele_type=unit.mesh.ele_type, location_fns=[])
        free = feax.DirichletBCConfig([]).create_bc(problem)
        pairings = (pbc.periodic_bc_2D if ndim == 2 else pbc.periodic_bc_3D)(unit, vec=ndim)
        prolongation = pbc.prolongation_matrix(pairings, unit.mesh, vec=ndim)
        options = feax.KrylovSolverOptions(**OPTIONS[tuned])
        solve = create_homogenization_solver(problem, free, prolongation, unit.mesh, options, dim=ndim)
        self.num_loads = ndim * (ndim + 1) // 2
        shear = np.where(np.arange(self.num_loads) < ndim, 1.0, np.sqrt(2.0))
        mandel = np.outer(shear, shear)

        def effective(field):
            young = field.ravel()[self._order]
            return jnp.asarray(mandel) * solve(feax.TracedParams(volume_vars=(young,))).C_hom

        def scalar(field, weights):
            value = effective(field)
            return jnp.sum(weights * value), value

        self._forward = jax.jit(effective)
        self._gradient = jax.jit(jax.value_and_grad(scalar, has_aux=True))

    def forward(self, field):
        """The effective stiffness (m, m) in Mandel notation, and seconds."""
        field = jnp.asarray(field)
        start = time.perf_counter()
        value = jax.block_until_ready(self._forward(field))
        return np.asarray(value), {"total": time.perf_counter() - start}

    def value_and_gradient(self, field, weights):
        """The tensor, the gradient of ``sum(weights * A)`` by voxels, and seconds."""
        field = jnp.asarray(field)
        start = time.perf_counter()
        (_, value), gradient = jax.block_until_ready(self._gradient(field, jnp.asarray(weights)))
        seconds = time.perf_counter() - start
        return np.asarray(value), np.asarray(gradient), {"total": seconds}


def _voxel_of_element(unit, n: int) -> np.ndarray:
    """Index of each element's voxel in the raveled field."""
    voxels = np.floor(np.asarray(unit.cell_centers) * n).astype(int)
    return np.ravel_multi_index(tuple(voxels.T), (n,) * voxels.shape[1])
