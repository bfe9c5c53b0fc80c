"""HDF5 in the layout of FANS (github.com/DataAnalyticsEngineering/FANS), through h5py.

A data set has the axes z, y, x (then components), unless its attribute "permute_order" is "xyz"; so reads FANS 0.6. It
keeps the lengths of the cell in its input file, as "L". We write them into the attribute "domain_lengths", in the order
x, y, z, as the tools that come with FANS do when they convert VTK files.
"""

import json
from pathlib import Path

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, reading

_ORDER, _LENGTHS = "permute_order", "domain_lengths"


def read_hdf5(path: Path, dataset: str | None) -> Stored:
    """One data set, with its axes and lengths if it says."""
    import h5py

    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if _is_image(item) else None)
        stored = file[choose(path, names, dataset, "data set")]
        return Stored(stored[...], _axes(stored), _lengths(stored))


def write_hdf5(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """One compressed data set for each field; a name with slashes makes groups."""
    import h5py

    axes = "zyx"[-grid.ndim :]
    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            stored = values.transpose(*reversed(range(grid.ndim)), *range(grid.ndim, values.ndim))
            created = file.create_dataset(name, data=np.ascontiguousarray(stored), compression="gzip", shuffle=True)
            created.attrs[_ORDER] = axes
            created.attrs[_LENGTHS] = np.array(grid.lengths)


def read_fans_input(path: Path, dataset: str | None) -> Stored:
    """The microstructure that an input file of FANS names."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))["microstructure"]
        name, dataset = str(entry["filepath"]), str(entry["datasetname"])
        lengths = tuple(map(float, entry["L"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is no input file of FANS: expected "microstructure" with "filepath", "datasetname" and "L" '
            f"({type(error).__name__}: {error})."
        ) from error
    # FANS looks in its working folder; input files are often kept beside or below that.
    places = [Path(name), path.parent / name, path.parent.parent / name]
    found = [place for place in places if place.is_file()]
    if not found:
        raise FileNotFoundError(
            f"{path} names the HDF5 file {name!r}, which is in none of {', '.join(map(str, places))}."
        )
    return read_hdf5(found[0], dataset)._replace(lengths=lengths)


def _is_image(item):
    import h5py

    return isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and item.ndim in (2, 3, 4)


def _axes(stored):
    order = stored.attrs.get(_ORDER)
    if order is None:
        return "zyx"[-min(stored.ndim, 3) :]
    return (order.decode() if isinstance(order, bytes) else str(order)).strip("\0 ").lower()


def _lengths(stored):
    if _LENGTHS in stored.attrs:
        return tuple(np.atleast_1d(stored.attrs[_LENGTHS]).astype(float).tolist())
    if "L" not in stored.attrs:
        return None
    # Writers of this attribute do not agree whether it follows x, y, z or the axes of the data set.
    lengths = tuple(np.atleast_1d(stored.attrs["L"]).astype(float).tolist())
    return (
        lengths
        if len(set(lengths)) == 1
        else f"{stored.name} has the attribute L = {lengths}, whose order is not fixed"
    )
