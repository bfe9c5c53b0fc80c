"""Tables of measured effective tensors: files, and frames of pandas."""

from ._specimens import load_specimens as load_specimens
from ._specimens import save_specimens as save_specimens
