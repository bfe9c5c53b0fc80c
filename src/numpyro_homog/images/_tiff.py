"""TIFF: pictures and stacks, as they are stored, through tifffile."""

import math
from pathlib import Path
from typing import Any

from ._stored import Stored, reading, stack

_COLOURS = {2: "RGB", 3: "indices of a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}


def read_tiff(path: Path, dataset: str | None = None) -> Stored:
    """A picture (rows, columns), or a stack (slices, rows, columns), in several directories or in one."""
    from tifffile import TiffFile

    with reading(path, "TIFF"), TiffFile(path) as file:
        places = [f"page {number + 1} of {path}" for number in range(len(file.pages))]
        for place, page in zip(places, file.pages, strict=True):
            _require_numbers(place, page)
        if len(file.series) > 1:
            return stack([page.asarray() for page in file.pages], places)
        series = file.series[0]
        if series.ndim > 3:
            raise ValueError(
                f"{path} holds channels, slices or times, {series.shape[:-2]} of them; save one stack of slices."
            )
        values = series.asarray()
        # tifffile only logs that slices are missing.
        noted = (file.imagej_metadata or {}).get("images", 1)
        if None in series.pages or values.shape != series.shape or math.prod(values.shape[:-2]) < noted:
            raise ValueError(f"{path} says that it holds more slices than it does; it is cut short.")
        return Stored(values, "xyz"[: series.ndim])


def _require_numbers(place: str, page: Any) -> None:
    """Raise unless a page has one whole number for each pixel, upright."""
    if page.samplesperpixel != 1 or page.photometric in _COLOURS:
        raise ValueError(
            f"{place} is a colour picture ({page.samplesperpixel} numbers per pixel,"
            f" {_COLOURS.get(page.photometric, 'grey')}), but a microstructure needs one number per pixel. Convert it"
            " to grey, or make an array of labels of it."
        )
    if page.tags.valueof("Orientation", 1) != 1:
        raise ValueError(f"{place} is turned or mirrored (its tag Orientation is not 1); save it upright.")
    if len(page.dataoffsets) != math.prod(page.chunked) or 0 in page.dataoffsets:
        raise ValueError("pieces of the picture are missing")
