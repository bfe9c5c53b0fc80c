"""HDF5 in the layout of FANS (github.com/DataAnalyticsEngineering/FANS), through h5py.

A data set has the axes z, y, x (then components), unless its attribute "permute_order" is "xyz"; so reads FANS 0.6. It
keeps the lengths of the cell in its input file, as "L". We write them into the attribute "domain_lengths", in the order
x, y, z, as the tools that come with FANS do when they convert VTK files.
"""

import json
from pathlib import Path

import numpy as np

from ..grids import Grid
from ._stored import Stored, choose, last_axis_first, reading

_ORDER, _LENGTHS = "permute_order", "domain_lengths"


def read_hdf5(path: Path, dataset: str | None) -> Stored:
    """One data set, with its axes and lengths if it says."""
    import h5py

    names: list[str] = []

    def note(name, item):
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and item.ndim in (2, 3, 4):
            names.append(name)

    with reading(path, "HDF5"), h5py.File(path, "r") as file:
        file.visititems(note)
        stored = file[choose(path, names, dataset, "data set")]
        order = stored.attrs.get(_ORDER, "zyx"[-min(stored.ndim, 3) :])
        axes = (order.decode() if isinstance(order, bytes) else str(order)).strip("\0 ").lower()
        found = {name: stored.attrs[name] for name in (_LENGTHS, "L") if name in stored.attrs}
        lengths: dict[str, tuple] = {key: tuple(np.ravel(x).astype(float).tolist()) for key, x in found.items()}
        if _LENGTHS not in lengths and len(set(lengths.get("L", ()))) > 1:
            # Writers of this attribute do not agree whether it follows x, y, z or the axes of the data set.
            unclear = f"{stored.name} has the attribute L = {lengths['L']}, whose order is not fixed"
            return Stored(stored[...], axes, unclear)
        return Stored(stored[...], axes, lengths.get(_LENGTHS, lengths.get("L")))


def write_hdf5(path: Path, fields: dict[str, np.ndarray], grid: Grid) -> None:
    """One compressed data set for each field; a name with slashes makes groups."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in fields.items():
            data = last_axis_first(values, grid.ndim)
            attributes = file.create_dataset(name, data=data, compression="gzip", shuffle=True).attrs
            attributes[_ORDER], attributes[_LENGTHS] = "zyx"[-grid.ndim :], np.array(grid.lengths)


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
    for place in filter(Path.is_file, places):
        return read_hdf5(place, dataset)._replace(lengths=lengths)
    raise FileNotFoundError(f"{path} names the HDF5 file {name!r}, which is in none of {', '.join(map(str, places))}.")
