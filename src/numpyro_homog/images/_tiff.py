"""TIFF: pictures and stacks, as they are stored.

What is not compressed is read by NumPy, of any type and size; what is compressed, by Pillow, as far as it has the type.
"""

import json
import math
import re
import struct
from pathlib import Path

import numpy as np

from ._stored import Stored, reading, stack, stored_numbers

# Tags.
_COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _DESCRIPTION = 256, 257, 258, 259, 262, 266, 270
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _TILE_COLUMNS, _TILE_ROWS, _TILES = 273, 274, 277, 278, 322, 323, 324
_FORMAT, _DEPTH, _TILE_DEPTH = 339, 32997, 32998
# Numbers of the types of a tag: unsigned integers and text.
_CODES = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 16: "u8"}
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}


def read_tiff(path: Path, dataset: str | None = None) -> Stored:
    """A picture (rows, columns), or a stack (slices, rows, columns), in several directories or in one."""
    with path.open("rb") as file, reading(path, "TIFF"):
        order, directories = _directories(file)
        places = [f"page {number + 1} of {path}" for number in range(len(directories))]
        dtypes = [_dtype(place, order, tags) for place, tags in zip(places, directories, strict=True)]
        sizes = _slices(directories[0])
        if sum(size > 1 for size in sizes) > 1:
            raise ValueError(f"{path} holds channels, slices or times, {sizes} of them; save one stack of slices.")
        count = math.prod(sizes)
        if any(tags.get(_COMPRESSION, [1])[0] != 1 or tags.get(_FILL_ORDER, [1])[0] != 1 for tags in directories):
            pages = _decode(path, directories, dtypes)
        elif len(directories) == 1 and count > directories[0].get(_DEPTH, [1])[0]:
            # ImageJ and others write one directory for all slices, one after the other, above 4 GB.
            rows, columns = int(directories[0][_ROWS][0]), int(directories[0][_COLUMNS][0])
            bits = _bits(directories[0])
            whole = _read(file, directories[0][_STRIPS][0], count * rows, columns, dtypes[0], bits)
            return Stored(whole.reshape(count, rows, columns), "xyz", None)
        else:
            pages = [_page(file, tags, dtype) for tags, dtype in zip(directories, dtypes, strict=True)]
        if sum(len(page) if page.ndim == 3 else 1 for page in pages) < count:
            raise ValueError(f"{path} says that it has {count} slices, but holds {len(pages)}; it is cut short.")
        if len(pages) == 1 and pages[0].ndim == 3:
            return Stored(pages[0], "xyz", None)
        return stack(pages, places)


def _directories(file):
    """The byte order, and of each directory the tags that we know, as arrays of numbers or text."""
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = struct.unpack(f"{order}H", file.read(2))
    if version not in (42, 43):
        raise ValueError(f"the version is {version}")
    big = version == 43
    word, entry = ("Q", "HHQ8s") if big else ("I", "HHI4s")
    file.seek(8 if big else 4)

    def unpack(code):
        return struct.unpack(order + code, file.read(struct.calcsize(order + code)))

    (offset,), seen, directories = unpack(word), set(), []
    while offset:
        if offset in seen:
            raise ValueError("its directories run in a circle")
        seen.add(offset)
        file.seek(offset)
        entries = [unpack(entry) for _ in range(unpack("Q" if big else "H")[0])]
        (offset,) = unpack(word)
        tags = {}
        for tag, kind, count, value in entries:
            if kind not in _CODES:
                continue
            dtype = np.dtype(order + _CODES[kind])
            if count * dtype.itemsize > len(value):
                file.seek(struct.unpack(order + word, value)[0])
                value = file.read(count * dtype.itemsize)
            tags[tag] = np.frombuffer(value, dtype, count).tolist()
        directories.append(tags)
    if not directories:
        raise ValueError("it has no picture")
    return order, directories


def _dtype(place, order, tags):
    """The type of the stored numbers."""
    colours = {2: "RGB", 3: "indices of a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
    samples, photometric = tags.get(_SAMPLES, [1])[0], tags.get(_PHOTOMETRIC, [1])[0]
    if samples != 1 or photometric in colours:
        raise ValueError(
            f"{place} is a colour picture ({samples} numbers per pixel, {colours.get(photometric, 'grey')}), but a"
            " microstructure needs one number per pixel. Convert it to grey, or make an array of labels of it."
        )
    if tags.get(_ORIENTATION, [1])[0] != 1:
        raise ValueError(
            f"{place} is turned or mirrored (its tag Orientation is {tags[_ORIENTATION][0]}); save it upright."
        )
    bits, kind = _bits(tags), _KINDS.get(tags.get(_FORMAT, [1])[0], "")
    if kind == "u" and bits in (1, 2, 4):
        return np.dtype("u1")
    if kind and bits in (8, 16, 32, 64) and (kind, bits) != ("f", 8):
        return np.dtype(f"{order}{kind}{bits // 8}")
    raise ValueError(
        f"{place} holds numbers of {bits} bits (its tag SampleFormat is {tags.get(_FORMAT, [1])[0]}); expected integers"
        " of 1, 2, 4, 8, 16, 32 or 64 bits or floating-point numbers of 16, 32 or 64. Convert them, for example"
        " by .astype(numpy.float32)."
    )


def _bits(tags):
    return tags.get(_BITS, [1])[0]


def _slices(tags):
    """Numbers of channels, slices and times that the program which wrote the file noted; () if it did not."""
    text = b"".join(tags.get(_DESCRIPTION, [])).decode("utf-8", errors="replace")
    if text.startswith("ImageJ="):
        noted = dict(line.partition("=")[::2] for line in text.splitlines())
        sizes = tuple(int(noted.get(name, 1)) for name in ("channels", "slices", "frames"))
        count = int(noted.get("images", 1))
        return sizes if math.prod(sizes) == count else (count,)
    if text.startswith('{"shape"'):
        shape = tuple(json.loads(text)["shape"])
        return shape[:-2] if shape[-2:] == (tags[_ROWS][0], tags[_COLUMNS][0]) else ()
    if "<OME" in text and "FileName=" not in text:
        return tuple(int(size) for size in re.findall(r'Size[CZT]="(\d+)"', text)[:3])
    return ()


def _page(file, tags, dtype):
    """The numbers of a directory that are not compressed, shape (rows, columns) or (slices, rows, columns)."""
    depth, rows, columns = (int(tags.get(tag, [1])[0]) for tag in (_DEPTH, _ROWS, _COLUMNS))
    if _TILES in tags:
        block = tuple(int(tags.get(tag, [1])[0]) for tag in (_TILE_DEPTH, _TILE_ROWS, _TILE_COLUMNS))
        offsets = tags[_TILES]
    else:
        block = (1, min(int(tags.get(_STRIP_ROWS, [rows])[0]), rows), columns)
        offsets = tags[_STRIPS]
    blocks = [-(-size // edge) for size, edge in zip((depth, rows, columns), block, strict=True)]
    if len(offsets) != math.prod(blocks) or 0 in offsets:
        raise ValueError("pieces of the picture are missing")
    values = np.empty((depth, rows, columns), dtype)
    for offset, number in zip(offsets, np.ndindex(*blocks), strict=True):
        begin = [n * edge for n, edge in zip(number, block, strict=True)]
        part = values[tuple(slice(a, a + edge) for a, edge in zip(begin, block, strict=True))]
        stored = part.shape[1] if _TILES not in tags else block[1]  # the last strip is shorter, the last tile is not
        piece = _read(file, offset, block[0] * stored, block[2], dtype, _bits(tags)).reshape(block[0], stored, block[2])
        part[...] = piece[tuple(map(slice, part.shape))]
    return values if depth > 1 else values[0]


def _read(file, offset, rows, columns, dtype, bits):
    """Rows of numbers, each beginning at a byte."""
    width = -(-columns * bits // 8)
    file.seek(offset)
    data = np.fromfile(file, np.uint8, rows * width)
    if len(data) < rows * width:
        raise ValueError(f"it ends {rows * width - len(data)} bytes too early")
    data = data.reshape(rows, width)
    if bits >= 8:
        return data.view(dtype)
    places = np.unpackbits(data, axis=1).reshape(rows, -1, bits)[:, :columns]
    return (places << np.arange(bits - 1, -1, -1, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)


def _decode(path, directories, dtypes):
    """Pages that are compressed."""
    from PIL.TiffImagePlugin import TiffImageFile

    pages = []
    try:
        with TiffImageFile(path) as picture:
            for number, (tags, dtype) in enumerate(zip(directories, dtypes, strict=True)):
                if dtype.itemsize > 4 or dtype.str[1:] == "f2" or tags.get(_DEPTH, [1])[0] > 1:
                    raise ValueError("not known to Pillow")
                picture.seek(number)
                inverted = tags.get(_PHOTOMETRIC, [1])[0] == 0 and _bits(tags) <= 8
                # Pillow has fewer types; bits that it took for another come back.
                pages.append(stored_numbers(np.array(picture), _bits(tags), inverted=inverted).astype(dtype))
    except Exception as error:
        raise ValueError(
            f"{path} is compressed, and its numbers ({dtypes[0].name}) cannot be decoded: {error}. Save it without"
            " compression, which holds every type and size, for example by tifffile.imwrite(path, array)."
        ) from error
    return pages
