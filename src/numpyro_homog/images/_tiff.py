"""TIFF: pictures and stacks, as they are stored.

What is not compressed is read by NumPy, of any type and size; what is compressed, by Pillow, as far as it has the type.
"""

import json
import math
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from ._stored import Stored, reading, stack, stored_numbers

_Tags: TypeAlias = dict[int, list]  # numbers or text, by the number of the tag
_COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _DESCRIPTION = 256, 257, 258, 259, 262, 266, 270
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _TILE_COLUMNS, _TILE_ROWS, _TILES = 273, 274, 277, 278, 322, 323, 324
_FORMAT, _DEPTH, _TILE_DEPTH = 339, 32997, 32998
# Numbers of the types of a tag: unsigned integers and text.
_CODES = {1: "u1", 2: "S1", 3: "u2", 4: "u4", 16: "u8"}
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}
_COLOURS = {2: "RGB", 3: "indices of a palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}


def read_tiff(path: Path, dataset: str | None = None) -> Stored:
    """A picture (rows, columns), or a stack (slices, rows, columns), in several directories or in one."""
    with reading(path, "TIFF"):
        data = np.memmap(path, np.uint8, "r")
        order, directories = _directories(data)
        places = [f"page {number + 1} of {path}" for number in range(len(directories))]
        dtypes = [_dtype(place, order, tags) for place, tags in zip(places, directories, strict=True)]
        sizes = _slices(directories[0])
        count = math.prod(sizes)
        if sum(size > 1 for size in sizes) > 1:
            raise ValueError(f"{path} holds channels, slices or times, {sizes} of them; save one stack of slices.")
        if any(_one(tags, _COMPRESSION) != 1 or _one(tags, _FILL_ORDER) != 1 for tags in directories):
            pages = _decode(path, directories, dtypes)
        else:
            behind = count if len(directories) == 1 else 1
            pages = [_page(data, tags, dtype, behind) for tags, dtype in zip(directories, dtypes, strict=True)]
        if sum(len(page) if page.ndim == 3 else 1 for page in pages) < count:
            raise ValueError(f"{path} says that it has {count} slices, but holds {len(pages)}; it is cut short.")
        return Stored(pages[0], "xyz") if len(pages) == 1 and pages[0].ndim == 3 else stack(pages, places)


def _one(tags: _Tags, tag: int, default: int = 1) -> int:
    """The number of a tag that has one."""
    return tags.get(tag, [default])[0]


def _directories(data: UInt8[np.ndarray, " bytes"]) -> tuple[str, list[_Tags]]:
    """The byte order, and of each directory the tags that we know, as lists of numbers or text."""
    order: Any = {b"II": "<", b"MM": ">"}[data[:2].tobytes()]

    def read(code: str | np.dtype, place: int, count: int = 1) -> list:
        return np.frombuffer(data, np.dtype(code).newbyteorder(order), count, place).tolist()

    (version,) = read("u2", 2)
    if version not in (42, 43):
        raise ValueError(f"the version is {version}")
    number, word, size = ("u8", "u8", 8) if version == 43 else ("u2", "u4", 4)
    entry = np.dtype([("tag", "u2"), ("kind", "u2"), ("count", word), ("value", word)])
    (offset,) = read(word, size)
    directories: dict[int, dict] = {}
    while offset:
        if offset in directories:
            raise ValueError("its directories run in a circle")
        place = offset + np.dtype(number).itemsize
        tags = directories[offset] = {}
        for tag, kind, count, value in read(entry, place, *read(number, offset)):
            place += entry.itemsize
            if kind in _CODES:
                fits = count * np.dtype(_CODES[kind]).itemsize <= size
                tags[tag] = read(_CODES[kind], place - size if fits else value, count)
        (offset,) = read(word, place)
    if not directories:
        raise ValueError("it has no picture")
    return order, list(directories.values())


def _dtype(place: str, order: str, tags: _Tags) -> np.dtype:
    """The type of the stored numbers."""
    samples, photometric, orientation = (_one(tags, tag) for tag in (_SAMPLES, _PHOTOMETRIC, _ORIENTATION))
    if samples != 1 or photometric in _COLOURS:
        raise ValueError(
            f"{place} is a colour picture ({samples} numbers per pixel, {_COLOURS.get(photometric, 'grey')}), but a"
            " microstructure needs one number per pixel. Convert it to grey, or make an array of labels of it."
        )
    if orientation != 1:
        raise ValueError(f"{place} is turned or mirrored (its tag Orientation is {orientation}); save it upright.")
    bits, kind = _one(tags, _BITS), _KINDS.get(_one(tags, _FORMAT), "")
    if kind == "u" and bits in (1, 2, 4):
        return np.dtype("u1")
    if kind and bits in (8, 16, 32, 64) and (kind, bits) != ("f", 8):
        return np.dtype(f"{order}{kind}{bits // 8}")
    raise ValueError(
        f"{place} holds numbers of {bits} bits (its tag SampleFormat is {_one(tags, _FORMAT)}); expected integers"
        " of 1, 2, 4, 8, 16, 32 or 64 bits or floating-point numbers of 16, 32 or 64. Convert them, for example"
        " by .astype(numpy.float32)."
    )


def _slices(tags: _Tags) -> tuple[int, ...]:
    """Numbers of channels, slices and times that the program which wrote the file noted; () if it did not."""
    text = b"".join(tags.get(_DESCRIPTION, [])).decode("utf-8", errors="replace")
    if text.startswith("ImageJ="):
        noted = dict(line.partition("=")[::2] for line in text.splitlines())
        sizes = tuple(int(noted.get(name, 1)) for name in ("channels", "slices", "frames"))
        count = int(noted.get("images", 1))
        return sizes if math.prod(sizes) == count else (count,)
    if text.startswith('{"shape"'):
        shape = tuple(json.loads(text)["shape"])
        return shape[:-2] if shape[-2:] == (_one(tags, _ROWS), _one(tags, _COLUMNS)) else ()
    if "<OME" in text and "FileName=" not in text:
        return tuple(int(size) for size in re.findall(r'Size[CZT]="(\d+)"', text)[:3])
    return ()


def _page(data: UInt8[np.ndarray, " bytes"], tags: _Tags, dtype: np.dtype, count: int) -> np.ndarray:
    """The numbers of a directory that are not compressed, shape (rows, columns) or (slices, rows, columns)."""
    sizes = depth, rows, columns = [_one(tags, tag) for tag in (_DEPTH, _ROWS, _COLUMNS)]
    if count > depth:
        # ImageJ and others write one directory for all slices, one after the other, above 4 GB.
        sizes = block = [count, rows, columns]
        offsets = tags[_STRIPS][:1]
    elif _TILES in tags:
        offsets, block = tags[_TILES], [_one(tags, tag) for tag in (_TILE_DEPTH, _TILE_ROWS, _TILE_COLUMNS)]
    else:
        offsets, block = tags[_STRIPS], [1, min(_one(tags, _STRIP_ROWS, rows), rows), columns]
    blocks = [-(-size // edge) for size, edge in zip(sizes, block, strict=True)]
    if len(offsets) != math.prod(blocks) or 0 in offsets:
        raise ValueError("pieces of the picture are missing")
    values = np.empty(sizes, dtype)
    for offset, number in zip(offsets, np.ndindex(*blocks), strict=True):
        part = values[tuple(slice(n * edge, (n + 1) * edge) for n, edge in zip(number, block, strict=True))]
        height = block[1] if _TILES in tags else part.shape[1]  # the last strip is shorter, the last tile is not
        piece = _read(data[offset:], block[0] * height, block[2], dtype, _one(tags, _BITS))
        part[...] = piece.reshape(block[0], height, block[2])[tuple(map(slice, part.shape))]
    return values if len(values) > 1 else values[0]


def _read(data: UInt8[np.ndarray, " bytes"], rows: int, columns: int, dtype: np.dtype, bits: int) -> np.ndarray:
    """Rows of numbers, each beginning at a byte."""
    width = -(-columns * bits // 8)
    if len(data) < rows * width:
        raise ValueError(f"it ends {rows * width - len(data)} bytes too early")
    data = data[: rows * width].reshape(rows, width)
    if bits >= 8:
        return data.view(dtype)
    places = np.unpackbits(data, axis=1).reshape(rows, -1, bits)[:, :columns]
    return (places << np.arange(bits - 1, -1, -1, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)


def _decode(path: Path, directories: list[_Tags], dtypes: list[np.dtype]) -> list[np.ndarray]:
    """Pages that are compressed."""
    from PIL.TiffImagePlugin import TiffImageFile

    pages = []
    try:
        with TiffImageFile(path) as picture:
            for number, (tags, dtype) in enumerate(zip(directories, dtypes, strict=True)):
                if dtype.itemsize > 4 or dtype.str[1:] == "f2" or _one(tags, _DEPTH) > 1:
                    raise ValueError("not known to Pillow")
                picture.seek(number)
                bits = _one(tags, _BITS)
                inverted = _one(tags, _PHOTOMETRIC) == 0 and bits <= 8
                # Pillow has fewer types; bits that it took for another come back.
                pages.append(stored_numbers(np.array(picture), bits, inverted=inverted).astype(dtype))
    except Exception as error:
        raise ValueError(
            f"{path} is compressed, and its numbers ({dtypes[0].name}) cannot be decoded: {error}. Save it without"
            " compression, which holds every type and size, for example by tifffile.imwrite(path, array)."
        ) from error
    return pages
