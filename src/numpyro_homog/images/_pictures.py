"""Grey pictures in PNG files, through Pillow, and folders of slices."""

import re
from pathlib import Path

import numpy as np

from ._stored import Stored, reading, stack
from ._tiff import read_tiff


def read_png(path: Path, dataset: str | None = None) -> Stored:
    """A picture (rows, columns), as it is stored."""
    from PIL.PngImagePlugin import PngImageFile

    # Not PIL.Image.open: it guesses the format, and refuses pictures above a size that is set for all who use Pillow.
    with path.open("rb") as file, reading(path, "PNG"):
        depth = file.read(25)[-1]
        file.seek(0)
        with PngImageFile(file) as picture:
            bands = picture.getbands()
            if picture.mode == "P" or len(bands) != 1 or picture.n_frames > 1:
                raise ValueError(
                    f"{path} is a colour picture (mode {picture.mode}: {', '.join(bands)}; {picture.n_frames} frames),"
                    " but a microstructure needs one number per pixel. Convert it to grey, for example by"
                    " PIL.Image.open(path).convert('L').save(...), or make an array of labels of it; of a picture with"
                    " a palette (mode P), numpy.array(PIL.Image.open(path)) has the indices."
                )
            values = np.array(picture)
            # Pillow shows numbers of two and four bits as grey values between 0 and 255.
            return stack([values // (255 // (2**depth - 1)) if depth in (2, 4) else values], [str(path)])


_READERS = {".png": read_png, ".tif": read_tiff, ".tiff": read_tiff}


def read_slices(path: Path) -> Stored:
    """The pictures of a folder, in the natural order of their names: (slices, rows, columns)."""
    files = [file for file in path.iterdir() if file.suffix.lower() in _READERS and not file.name.startswith(".")]
    if not files:
        raise ValueError(f"The folder {path} holds no slices; expected files {', '.join(_READERS)}.")
    if len({file.suffix.lower() for file in files}) > 1:
        kinds = ", ".join(sorted({file.suffix for file in files}))
        raise ValueError(f"The folder {path} holds files {kinds}; which of them are the slices? Keep one kind.")
    # Numbers within the names are compared as numbers, and come after letters.
    files.sort(key=lambda file: [(int(x), x) if x.isdigit() else (-1, x) for x in re.split(r"(\d+)", file.name)])
    stored = stack([_READERS[file.suffix.lower()](file).values for file in files], list(map(str, files)))
    # A folder is a stack, also if it holds a single slice.
    return stored if len(files) > 1 else Stored(stored.values[None], "xyz")
