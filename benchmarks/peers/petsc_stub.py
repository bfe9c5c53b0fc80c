"""A stand-in for the calls of ``petsc4py.PETSc.Mat`` that JAX-FEM makes.

JAX-FEM imports petsc4py without asking, and no wheel provides PETSc. On the
paths of this benchmark (assembly, ``P_mat`` prolongation, ``umfpack_solver``,
adjoint) it uses PETSc only as a container: it wraps a SciPy matrix, zeroes rows,
forms ``P.T @ A @ P``, transposes, and hands the three CSR arrays back to SciPy.
That much is here, with SciPy underneath. ``install`` prefers a real petsc4py.
"""

import importlib
import sys
import types

import numpy as np
import scipy.sparse as sp


class Mat:
    """A sparse matrix with the surface of ``petsc4py.PETSc.Mat`` that is used."""

    def __init__(self) -> None:
        self._matrix = None

    def createAIJ(self, size, csr) -> "Mat":
        """Fill from ``csr = (indptr, indices, data)``; returns itself like PETSc."""
        indptr, indices, data = csr
        self._matrix = sp.csr_array((data, indices, indptr), shape=size)
        return self

    def zeroRows(self, rows, diag: float = 1.0) -> None:
        """Zero the rows and put ``diag`` on their diagonal, which must be stored."""
        matrix = self._matrix
        data = matrix.data.copy()
        for row in np.asarray(rows).ravel():
            span = slice(matrix.indptr[row], matrix.indptr[row + 1])
            on_diagonal = matrix.indices[span] == row
            if np.count_nonzero(on_diagonal) != 1:
                raise ValueError(f"row {row} stores no unique diagonal entry")
            data[span] = np.where(on_diagonal, diag, 0.0)
        self._matrix = sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)

    def matMult(self, other: "Mat") -> "Mat":
        """The product of two matrices as a new one, columns sorted."""
        product = Mat()
        product._matrix = (self._matrix @ other._matrix).tocsr()
        product._matrix.sort_indices()
        return product

    def transpose(self) -> "Mat":
        """Transpose in place and return itself, as PETSc does without ``out``."""
        self._matrix = self._matrix.T.tocsr()
        return self

    def getSize(self) -> tuple[int, int]:
        """Global numbers of rows and columns."""
        return self._matrix.shape

    def getValuesCSR(self):
        """The arrays ``(indptr, indices, data)``."""
        return self._matrix.indptr, self._matrix.indices, self._matrix.data


def install() -> str:
    """Make ``from petsc4py import PETSc`` work; says which one is in use.

    Returns:
        ``"petsc4py <version>"`` when the real one is importable, else ``"stand-in"``.
    """
    try:
        importlib.import_module("petsc4py.PETSc")
    except ImportError:
        pass
    else:
        return f"petsc4py {importlib.import_module('petsc4py').__version__}"
    package = types.ModuleType("petsc4py")
    package.PETSc = types.ModuleType("petsc4py.PETSc")
    package.PETSc.Mat = Mat
    package.PETSc.IntType = np.int32
    package.PETSc.ScalarType = np.float64
    package.__version__ = "stand-in"
    sys.modules["petsc4py"] = package
    sys.modules["petsc4py.PETSc"] = package.PETSc
    return "stand-in"
