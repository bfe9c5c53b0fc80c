"""Grey pictures, TIFF stacks and folders of slices, through Pillow."""

import re
from pathlib import Path

import numpy as np

from ._stored import Stored

_SUFFIXES = (".png", ".tif", ".tiff")


def read_picture(path: Path, dataset: str | None = None) -> Stored:
    """A picture (rows, columns), or the pages of a TIFF stack (pages, rows, columns)."""
    import PIL.Image

    try:
        with PIL.Image.open(path) as picture:
            pages = []
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                pages.append(_grey(path, picture))
    except (OSError, SyntaxError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}.") from error
    return _stack(pages, [f"page {number + 1} of {path}" for number in range(len(pages))])


def read_slices(path: Path) -> Stored:
    """The pictures of a folder, in the natural order of their names: (slices, rows, columns)."""
    files = [file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")]
    if not files:
        raise ValueError(f"The folder {path} holds no slices; expected files {', '.join(_SUFFIXES)}.")
    if len({file.suffix.lower() for file in files}) > 1:
        kinds = sorted({file.suffix for file in files})
        raise ValueError(
            f"The folder {path} holds files {', '.join(kinds)}; which of them are the slices? Keep one kind."
        )
    files.sort(key=_natural_order)
    pages = [read_picture(file).values for file in files]
    stack = _stack(pages, [str(file) for file in files])
    # A folder is a stack, also if it holds a single slice.
    return stack if len(pages) > 1 else Stored(pages[0][None], "xyz", None)


def _grey(path, picture):
    bands = picture.getbands()
    if picture.mode == "P" or len(bands) != 1:
        raise ValueError(
            f"{path} is a colour picture (mode {picture.mode}: {', '.join(bands)}), but a microstructure needs one "
            "number per pixel. Convert it to grey, for example by PIL.Image.open(path).convert('L').save(...), or "
            "make an array of labels of it."
        )
    return np.array(picture)


def _stack(pages, names):
    for page, name in zip(pages, names, strict=True):
        if page.ndim != 2:
            raise ValueError(f"{name} has shape {page.shape}; a slice has two axes.")
        if page.shape != pages[0].shape or page.dtype != pages[0].dtype:
            raise ValueError(
                f"The slices differ: {names[0]} has shape {pages[0].shape} and {pages[0].dtype}, "
                f"{name} has {page.shape} and {page.dtype}."
            )
    return Stored(pages[0], "xy", None) if len(pages) == 1 else Stored(np.stack(pages), "xyz", None)


def _natural_order(file):
    return [(int(part), part) if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]
