"""`Image`, `load_image` and `save_image`: one door for all file formats."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._store import write_whole
from ..grids import Grid
from ._arrays import read_fans_input, read_hdf5, read_numpy, write_hdf5, write_npz
from ._pictures import read_png, read_slices
from ._stored import Stored
from ._tiff import read_tiff
from ._vti import read_vti, write_vti

_READERS = {
    ".png": read_png,
    **dict.fromkeys((".tif", ".tiff"), read_tiff),
    **dict.fromkeys((".npy", ".npz"), read_numpy),
    ".vti": read_vti,
    **dict.fromkeys((".h5", ".hdf5"), read_hdf5),
    ".json": read_fans_input,
}
_WRITERS = {".npz": write_npz, ".vti": write_vti, **dict.fromkeys((".h5", ".hdf5"), write_hdf5)}
_FIELD_NAME = "image"


class Image(NamedTuple):
    """An image of a microstructure, or a field on its voxels.

    Attributes:
        values: whatever the file holds, shape (*grid), or (*grid, components), axes in the order x_1, x_2, x_3.
        grid: the voxels, with the lengths of the cell.
    """

    values: np.ndarray
    grid: Grid


def load_image(
    path: str | os.PathLike[str],
    *,
    dataset: str | None = None,
    spacing: float | int | Sequence[float | int] | None = None,
    axes: str | None = None,
) -> Image:
    """Read a two- or three-dimensional image of a microstructure.

    What is read follows from the name of the file:

    - a folder: slices, .png or .tif, in the natural order of their names (2 before 10);
    - .png, .tif, .tiff: a grey picture, or a TIFF stack, in several directories or in one, as ImageJ has it above 4 GB;
    - .npy, .npz: an array; a file of `save_image` knows its lengths;
    - .vti: VTK image data, one value in each cell (or at each point, read as a voxel), as ParaView and DAMASK have it;
    - .h5, .hdf5: HDF5 in the layout of FANS, axes "zyx" unless the attribute "permute_order" of the data set differs;
    - .json: an input file of FANS, which names the HDF5 file, the data set and the lengths.

    Pictures and arrays are taken as NumPy has them: x_1 runs down the rows of a picture and x_2 along them, and in a
    stack x_1 counts the slices. `axes` says otherwise: with "yx" x_1 points to the right and x_2 down, with "zyx" a
    stack has x_3 across its slices.

    Numbers are those that the file stores: a TIFF in which white is zero, as in many masks of one bit, is not inverted,
    and numbers of few bits are not scaled. TIFF may be compressed, and hold integers or floating-point numbers of any
    size. Any size of a picture is read; it costs the memory of the array.

    Args:
        path: the file or folder.
        dataset: name of the array, where the file holds several: of the .npz entry, the HDF5 data set or the VTK array.
        spacing: edge length of a voxel, > 0, one number or one for each grid axis; default: as the file says, else 1.
        axes: which grid axis each axis of the array in the file is, a permutation of "xy" or "xyz"; default: as the
            file says, else "xy" or "xyz". Not for .vti, which always says.

    Returns:
        `Image`, its values in the dtype of the file (bool becomes uint8), NumPy.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the extension is unknown, the file is not what its extension says, the data set is missing or
            ambiguous, the picture has colours or a palette, slices differ in shape or are fewer than noted, a TIFF has
            channels or times, a value is not finite, or an option does not fit.
        ImportError: for .vti, if VTK is not installed (the extra "images").

    Example:
        >>> save_image("cell.h5", np.zeros((8, 4), np.uint8), Grid((8, 4), lengths=(2.0, 1.0)))
        >>> load_image("cell.h5").grid.lengths
        (2.0, 1.0)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder {str(path)!r} (working folder: {Path.cwd()}).")
    suffix = path.suffix.lower()
    if path.is_dir():
        return _as_image(path, read_slices(path), spacing, axes)
    if suffix not in _READERS:
        raise ValueError(f"load_image cannot read {path.name!r}; it knows {', '.join(_READERS)} and folders of slices.")
    if dataset is not None and suffix in (".png", ".tif", ".tiff", ".npy", ".json"):
        raise ValueError(f"{path} is a single array; leave out dataset={dataset!r}.")
    if axes is not None and suffix == ".vti":
        raise ValueError(f"A .vti file says which axis is which; leave out axes={axes!r}.")
    return _as_image(path, _READERS[suffix](path, dataset), spacing, axes)


def save_image(path: str | os.PathLike[str], fields: Any, grid: Grid) -> None:
    """Write fields on a grid to a .vti, HDF5 or .npz file, as `load_image` reads them.

    - .vti: cell data of VTK image data, for ParaView; two-dimensional grids lie in the plane z = 0;
    - .h5, .hdf5: one data set for each field in the layout of FANS: axes in the order z, y, x, then components, with
      the attribute "permute_order"; the lengths of the cell along x, y, z are in the attribute "domain_lengths", and
      go into the input file of FANS as "L". FANS itself wants three dimensions and integers;
    - .npz: the fields as they are, and "lengths".

    Numbers, dtypes and lengths come back exactly. The file appears complete or not at all; an existing one is replaced.

    Args:
        path: the file; its extension chooses the format.
        fields: one array, shape (*grid) or (*grid, components), bool, integer or floating-point; or a dictionary of
            them by name. A single array gets the name "image"; one component is the same as none.
        grid: the voxels and lengths, two- or three-dimensional.

    Raises:
        ValueError: if the extension is unknown, or a field does not fit the grid or the format, or is not finite.
        ImportError: for .vti, if VTK is not installed (the extra "images").
        OSError: if the file cannot be written.

    Example:
        >>> save_image("cell.npz", {"labels": np.eye(4, dtype=int), "k": np.ones((4, 4))}, Grid((4, 4)))
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(f"save_image cannot write {path.name!r}; it knows {', '.join(_WRITERS)}.")
    if grid.ndim not in (2, 3):
        raise ValueError(f"save_image writes two- and three-dimensional grids; got {grid.shape}.")
    named = fields if isinstance(fields, Mapping) else {_FIELD_NAME: fields}
    arrays = {name: _as_numbers(f"The field {name!r}", np.asarray(values)) for name, values in named.items()}
    if not arrays:
        raise ValueError("There is nothing to save: fields is empty.")
    for name, values in arrays.items():
        if values.shape[: grid.ndim] != grid.shape or values.ndim > grid.ndim + 1:
            raise ValueError(
                f"The field {name!r} has shape {values.shape}, but the grid is {grid.shape}; expected {grid.shape} or"
                f" {(*grid.shape, 'components')}."
            )
    write_whole(path, lambda file: _WRITERS[suffix](Path(file.name), arrays, grid))


def _as_image(
    path: Path, stored: Stored, spacing: float | int | Sequence[float | int] | None, axes: str | None
) -> Image:
    values, lengths = stored.values, stored.lengths
    said = f"{path} says that its axes are {stored.axes!r}. " if axes is None else ""
    axes = stored.axes if axes is None else axes
    ndim = len(axes)
    if ndim not in (2, 3) or sorted(axes) != list("xyz"[:ndim]):
        raise ValueError(f"{said}axes must be a permutation of 'xy' or 'xyz', such as 'yx'; got {axes!r}.")
    if values.ndim not in (ndim, ndim + 1):
        raise ValueError(f"{path} holds an array of shape {values.shape}; it cannot have the axes {axes!r}.")
    values = values.transpose(*map(axes.index, "xyz"[:ndim]), *range(ndim, values.ndim))
    values = values[..., 0] if values.shape[ndim:] == (1,) else values
    values = np.ascontiguousarray(_as_numbers(str(path), values))
    shape = values.shape[:ndim]
    if not values.size:
        raise ValueError(f"{path} holds an empty array of shape {values.shape}.")
    if spacing is not None:
        edges = np.full(ndim, spacing) if np.ndim(spacing) == 0 else np.array(spacing)
        if edges.shape != (ndim,) or not ((edges > 0) & (edges < np.inf)).all():
            raise ValueError(f"spacing is one positive length or one for each of {ndim} axes; got {spacing}.")
        lengths = tuple(edges * shape)
    if isinstance(lengths, str):
        raise ValueError(f"{path}: {lengths}; pass spacing=....")
    if lengths is not None and (len(lengths) != ndim or not all(0 < length < np.inf for length in lengths)):
        raise ValueError(
            f"{path} says that the cell has the lengths {lengths}; its array has {ndim} grid axes, each with a positive"
            " length. Pass spacing=...."
        )
    return Image(values, Grid(shape, lengths=shape if lengths is None else lengths))


def _as_numbers(what: str, values: np.ndarray) -> np.ndarray:
    """Real finite numbers in the byte order of the machine."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{what} holds {values.dtype}; expected real numbers.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{what} has {np.sum(~np.isfinite(values))} values that are not finite.")
    return values.astype(np.uint8 if values.dtype == bool else values.dtype.newbyteorder("="), copy=False)
