"""The only file that imports jax_fem: elements of voxel grids and of meshes."""

import contextlib
import functools
import importlib
import inspect
import io
import logging
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from ..meshes import Mesh

_VOXELS = {2: "QUAD4", 3: "HEX8"}


class VoxelElement(NamedTuple):
    """Shape-function gradients and quadrature of one voxel; the weights sum to its volume."""

    gradients: np.ndarray
    weights: np.ndarray
    corners: np.ndarray


@functools.lru_cache(maxsize=32)
def voxel_element(spacing: tuple[float, ...]) -> VoxelElement:
    """The multilinear element on a box with edges `spacing`, as JAX-FEM defines it (in 1D: the linear segment)."""
    ndim = len(spacing)
    if ndim == 1:
        gradients = np.array([[[-1.0], [1.0]]]) / spacing[0]
        return VoxelElement(gradients, np.array(spacing), np.array([[0], [1]]))
    with _quiet_jax_fem() as jax_fem:
        _, slopes, weights = _integrated(jax_fem("basis").get_shape_vals_and_grads, 2)(_VOXELS[ndim])
    # A node is at the corner of the reference cell where its (multilinear) shape function grows to.
    corners = (slopes.mean(axis=0) > 0).astype(int)
    return VoxelElement(slopes / spacing, weights * np.prod(spacing), corners)


class MeshElements(NamedTuple):
    """Shape-function gradients and quadrature of all elements of a mesh.

    Weights times the determinant of the Jacobian sum to the volume of an element, or minus it for the mirror image of
    the reference element.
    """

    gradients: np.ndarray
    weights: np.ndarray
    facets: np.ndarray


@functools.lru_cache(maxsize=8)
def mesh_elements(mesh: Mesh) -> MeshElements:
    """Isoparametric elements of a mesh, with the shape functions and the quadrature of JAX-FEM.

    The serendipity functions of JAX-FEM (QUAD8, HEX20) belong to means over edges; here they belong to the values in
    the middle of edges, as meshes have them. Second-order elements are integrated with more points than JAX-FEM takes
    unasked: it would underintegrate QUAD8 and HEX20, and curved elements.
    """
    with _quiet_jax_fem() as jax_fem:
        basis, kind = jax_fem("basis"), mesh.element_type
        family, cell, _, order, degree, positions = basis.get_elements(kind)
        exactness = 4 if degree == 2 else order
        _, slopes, weights = _integrated(basis.get_shape_vals_and_grads, exactness)(kind)
        on_facets = _integrated(basis.get_face_shape_vals_and_grads, 2)(kind)[0]
        nodes = basis.basix.create_element(basis.basix.ElementFamily.P, cell, degree).points[positions]
        values = basis.basix.create_element(family, cell, degree).tabulate(0, nodes)[0][:, positions, 0]
    slopes = np.einsum("qai,ab->qbi", slopes, np.linalg.inv(values))
    jacobian = np.einsum("eax,qai->eqxi", mesh.points[mesh.elements], slopes)
    determinants = np.linalg.det(jacobian)
    invertible = np.where((determinants == 0)[..., None, None], np.eye(mesh.ndim), jacobian)
    gradients = np.einsum("qai,eqix->eqax", slopes, np.linalg.inv(invertible))
    facets = np.array([np.flatnonzero(np.abs(part).max(axis=0) > 1e-10) for part in on_facets])
    return MeshElements(gradients, determinants * weights, facets)


def _integrated(function: Callable, degree: int) -> Callable:
    """A function of JAX-FEM with its quadrature exact to `degree`, for which its releases have different names."""
    names = inspect.signature(function).parameters
    name = "quadrature_order" if "quadrature_order" in names else "gauss_order"
    return functools.partial(function, **{name: degree})


@contextlib.contextmanager
def _quiet_jax_fem() -> Iterator[Callable[[str], types.ModuleType]]:
    """Yield an importer of jax_fem modules; undo what importing them does to the process.

    JAX-FEM prints a banner, turns on 64-bit mode, changes loggers and NumPy's print options, and imports gmsh, which
    fails on machines without libGL. A stand-in gmsh loads the real one when, and only when, somebody uses it.
    """
    x64, print_options = jax.config.read("jax_enable_x64"), np.get_printoptions()
    levels = {name: logging.getLogger(name).level for name in ("jax", "tensorflow", "jax_fem")}
    fresh_gmsh = "gmsh" not in sys.modules
    if fresh_gmsh:
        sys.modules["gmsh"] = _LazyModule("gmsh")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module("jax_fem")
            logging.getLogger("jax_fem").setLevel(logging.WARNING)
            yield lambda name: importlib.import_module(f"jax_fem.{name}")
    finally:
        if fresh_gmsh:
            del sys.modules["gmsh"]
        np.set_printoptions(**print_options)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if jax.config.read("jax_enable_x64") != x64:
            jax.config.update("jax_enable_x64", x64)


class _LazyModule(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)
