"""Meshes of finite elements that fill a box, and files of them."""

from ._files import load_mesh as load_mesh
from ._mesh import Mesh as Mesh
