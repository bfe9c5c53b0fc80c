"""The periodic conduction cell with JAX-FEM's own ``Problem`` and ``ad_wrapper``.

Importing this module imports jax_fem, which prints a banner and switches JAX to
64 bit for the whole process: import it in a process of its own (``worker.py``).

One problem per load case solves ``div k (grad u + e) = 0`` for the periodic
corrector ``u``. Periodicity is a prolongation ``problem.P_mat`` from the n * n
independent nodes to the (n + 1)^2 nodes of the mesh; both directions are folded
by the remainder of the node's indices. One interior node is held at zero: its
row of ``P_mat`` and its column contain nothing else, so that ``P.T @ A @ P`` keeps its
equation as it is; a node on the boundary would be added to its periodic images.
"""

# ruff: noqa: E402 (the stand-in must be there before jax_fem is imported)
import logging
import sys
import time
import types

from benchmarks.peers import petsc_stub
from benchmarks.peers.stopwatch import Stopwatch

PETSC = petsc_stub.install()
try:
    import gmsh  # noqa: F401
except (ImportError, OSError):  # not installed, or no libGL; only JAX-FEM's mesh generators would need it
    sys.modules["gmsh"] = types.ModuleType("gmsh")

import jax
import jax.numpy as jnp
import jax_fem.solver
import numpy as np
import scipy.sparse as sp
from jax_fem.generate_mesh import Mesh
from jax_fem.problem import Problem
from scipy.sparse.linalg import spsolve

logging.getLogger("jax_fem").setLevel(logging.WARNING)

#: shared by every cell: JAX-FEM's module functions are wrapped once
WATCH = Stopwatch()


def _finished(function):
    """The function, returning only when its arrays are there."""
    return lambda *args, **kwargs: jax.block_until_ready(function(*args, **kwargs))


def _instrument() -> None:
    """Charge JAX-FEM's linear solves and matrix assembly to their headings."""
    jax_fem.solver.linear_solver = WATCH.watch(_finished(jax_fem.solver.linear_solver), "solve")
    jax_fem.solver.get_A = WATCH.watch(jax_fem.solver.get_A, "assembly")
    Problem.newton_update = WATCH.watch(_finished(Problem.newton_update), "assembly")


_instrument()


class Conduction(Problem):
    """``div k (grad u + load) = 0``; k varies by voxel, ``load`` is constant."""

    def custom_init(self, load):
        self.load = jnp.broadcast_to(jnp.asarray(load), (self.num_cells, self.fes[0].num_quads, 2))

    def get_tensor_map(self):
        return lambda u_grad, conductivity, load: conductivity * (u_grad + load)

    def set_params(self, conductivity):
        shape = (self.num_cells, self.fes[0].num_quads)
        self.internal_vars = [jnp.broadcast_to(conductivity.reshape(-1, 1), shape), self.load]


def periodic_prolongation(n: int) -> sp.csr_matrix:
    """The doubly periodic ``P_mat``, shape ((n + 1)^2, n^2)."""
    node = np.arange(n + 1) % n
    independent = (node[:, None] * n + node[None, :]).ravel()
    rows = np.arange((n + 1) ** 2)
    return sp.csr_matrix((np.ones(rows.size), (rows, independent)), shape=(rows.size, n * n))


def _voxel_mesh(n: int) -> Mesh:
    """n * n squares on the unit cell; cell ``i * n + j`` is the voxel [i, j]."""
    ticks = np.linspace(0.0, 1.0, n + 1)
    points = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1, 1)
    return Mesh(points, corner + np.array([0, n + 1, n + 2, 1]), ele_type="QUAD4")


class Cell:
    """A cell of n * n voxels whose two load cases JAX-FEM solves one by one."""

    num_loads = 2

    def __init__(self, n: int) -> None:
        if n < 2:
            raise ValueError(f"n is {n}; a cell needs an interior node, so n >= 2")
        mesh, pinned = _voxel_mesh(n), (n + 1) + 1  # node [1, 1] is interior
        direct = {"umfpack_solver": {}}
        self._problems, self._solvers = [], []
        for load in np.eye(2):
            problem = Conduction(
                mesh,
                vec=1,
                dim=2,
                ele_type="QUAD4",
                dirichlet_bc_info=[[lambda point, node: node == pinned], [0], [lambda point: 0.0]],
                additional_info=(load,),
            )
            problem.P_mat = periodic_prolongation(n)
            self._problems.append(problem)
            self._solvers.append(jax_fem.solver.ad_wrapper(problem, dict(direct), dict(direct)))
        self._element = self._problems[0].fes[0]
        self._flux = jax.jit(self._mean_flux)

    def _mean_flux(self, conductivity, corrector, load):
        gradient = self._element.sol_to_grad(corrector)[:, :, 0, :] + load
        weights = conductivity.reshape(-1, 1) * self._element.JxW
        return jnp.sum(weights[..., None] * gradient, axis=(0, 1))

    def _effective(self, conductivity):
        fluxes = []
        for load, solve in zip(jnp.eye(2), self._solvers, strict=True):
            fluxes.append(self._flux(conductivity, solve(conductivity)[0], load))
        return jnp.stack(fluxes, axis=-1)

    def _timed(self, function):
        WATCH.read()
        with WATCH.under("total"):
            value = jax.block_until_ready(function())
        return value, WATCH.read()

    def forward(self, field):
        """The effective tensor (2, 2) of a field (n, n), and seconds per heading."""
        conductivity = jnp.asarray(field)
        value, seconds = self._timed(lambda: self._effective(conductivity))
        return np.asarray(value), seconds

    def value_and_gradient(self, field, weights):
        """The tensor, the gradient of ``sum(weights * A)`` (n, n), and seconds."""

        def scalar(conductivity):
            effective = self._effective(conductivity)
            return jnp.sum(jnp.asarray(weights) * effective), effective

        conductivity = jnp.asarray(field)
        value, seconds = self._timed(lambda: jax.value_and_grad(scalar, has_aux=True)(conductivity))
        (_, effective), gradient = value
        return np.asarray(effective), np.asarray(gradient), seconds

    def stand_in_overhead(self, field, repeats: int = 9) -> dict:
        """Seconds of JAX-FEM's solve on its matrix and of plain ``spsolve`` on the same numbers."""
        matrix, twin, right = self.matrix(field)
        solve = jax_fem.solver.umfpack_solve
        both = {"stand_in": lambda: solve(matrix, right), "scipy": lambda: spsolve(twin, right)}
        if not np.allclose(both["stand_in"](), both["scipy"](), rtol=1e-10, atol=1e-12):
            raise RuntimeError("the stand-in's matrix is not SciPy's")
        seconds = {name: [] for name in both}
        for _ in range(repeats):
            for name, run in both.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: float(np.median(times)) for name, times in seconds.items()}
        return {**medians, "ratio": medians["stand_in"] / medians["scipy"], "petsc": PETSC}

    def matrix(self, field):
        """The system of the first load case: PETSc-like matrix, its SciPy twin, right-hand side."""
        problem = self._problems[0]
        problem.set_params(jnp.asarray(field))
        zero = [jnp.zeros((self._element.num_total_nodes, 1))]
        residual = problem.newton_update(zero)[0].ravel()
        residual = jax_fem.solver.apply_bc_vec(residual, jnp.zeros_like(residual), problem)
        matrix = jax_fem.solver.get_A(problem)
        indptr, indices, data = matrix.getValuesCSR()
        twin = sp.csr_matrix((data.copy(), indices.copy(), indptr.copy()), shape=matrix.getSize())
        return matrix, twin, -(problem.P_mat.T @ np.asarray(residual))
