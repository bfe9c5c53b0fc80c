"""What every reader of a mesh returns."""

from typing import NamedTuple

import numpy as np


class Contents(NamedTuple):
    """Elements of all dimensions as a file holds them, and what may tell their phases.

    Attributes:
        points: coordinates, shape (num_points, 2 or 3).
        blocks: name that meshio has for the type, and nodes, shape (num, nodes), of blocks of elements.
        arrays: numbers of the elements, in the order of the blocks, shape (num_elements,), by name.
        sets: groups of sets of elements by name, the group that tells the phases best first; each set holds the
            positions of its elements in the order of the blocks.
        names: what the numbers of an array stand for, by the name of the array.
    """

    points: np.ndarray
    blocks: list[tuple[str, np.ndarray]]
    arrays: dict[str, np.ndarray]
    sets: list[dict[str, np.ndarray]]
    names: dict[str, dict[int, str]]
