"""Pictures and stacks hold the numbers that their files store, of every type, or are refused with the remedy."""

import json
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from numpyro_homog.images import load_image

STACK = np.arange(5 * 7 * 11, dtype=np.uint16).reshape(5, 7, 11)
IMAGEJ = "ImageJ=1.54f\nimages=5\nslices=5\n"


def write_tiff(path, *directories, order="<", big=False):
    """A TIFF of directories (pieces, tags): byte strings, strips or tiles, and numbers, lists of them or text."""
    word, short = ("Q", "Q") if big else ("I", "H")
    size = struct.calcsize(word)
    content = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(order + "H", 43 if big else 42))
    content += struct.pack(order + "HH", 8, 0) if big else b""
    for pieces, tags in directories:
        link = len(content)
        content += bytes(size)
        starts = np.cumsum([len(content)] + [len(piece) for piece in pieces]).tolist()
        content += b"".join(pieces)
        places, sizes = (324, 325) if 322 in tags else (273, 279)
        tags = {places: starts[:-1], sizes: [len(piece) for piece in pieces], **tags}
        entries = b""
        for tag, value in sorted(tags.items()):
            numbers = value if isinstance(value, list) else [value]
            data = value.encode() if isinstance(value, str) else struct.pack(f"{order}{len(numbers)}{word}", *numbers)
            kind, count = (2, len(data)) if isinstance(value, str) else (16 if big else 4, len(numbers))
            if len(data) > size:
                data, place = struct.pack(order + word, len(content)), data
                content += place
            entries += struct.pack(f"{order}HH{word}", tag, kind, count) + data.ljust(size, b"\0")
        content[link : link + size] = struct.pack(order + word, len(content))
        content += struct.pack(order + short, len(entries) // (4 + 2 * size)) + entries
    path.write_bytes(content + bytes(size))
    return path


def directory(page, order="<", *, strip=None, **tags):
    """A directory of a picture (rows, columns), in strips of some rows."""
    rows, columns = page.shape[-2:]
    strips = [page[i : i + (strip or rows)] for i in range(0, rows, strip or rows)] if page.ndim == 2 else [page]
    own = {256: columns, 257: rows, 258: 8 * page.itemsize, 259: 1, 262: 1, 277: 1, 278: strip or rows}
    own[339] = {"u": 1, "i": 2, "f": 3, "c": 6}[page.dtype.kind]
    numbers = {int(tag.removeprefix("tag")): value for tag, value in tags.items()}
    return [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in strips], own | numbers


def packed(page, bits):
    """Rows of numbers of few bits, each row from a new byte."""
    digits = np.unpackbits(page.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
    return np.packbits(digits.reshape(len(page), -1), axis=1).tobytes()


# --- the numbers of the file ---


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_integers_of_every_size_are_read_to_their_ends(tmp_path, dtype, order):
    """4e9 as a uint32 was read as -294967296."""
    ends = np.iinfo(dtype)
    page = np.array([[ends.min, 0, 1], [ends.max, ends.max // 2, 3]], dtype)
    path = write_tiff(tmp_path / "a.tif", directory(page, order), directory(page[::-1], order), order=order)
    found = load_image(path).values
    np.testing.assert_array_equal(found, [page, page[::-1]])
    assert found.dtype == dtype
    assert found.dtype.isnative


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floating_point_numbers_of_every_size_are_read(tmp_path, dtype, order, big):
    page = np.random.default_rng(0).normal(size=(6, 4)).astype(dtype)
    path = write_tiff(tmp_path / "a.tif", directory(page, order, strip=4), order=order, big=big)
    found = load_image(path).values
    np.testing.assert_array_equal(found, page)
    assert found.dtype == dtype


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_few_bits_and_white_is_zero_are_read_as_stored(tmp_path, bits, white_is_zero):
    """Where white is zero Pillow shows the complement, and it scales numbers of few bits."""
    page = np.random.default_rng(1).integers(0, 2**bits, (5, 11), np.uint8)
    data, tags = packed(page, bits), directory(page)[1] | {258: bits, 262: int(not white_is_zero)}
    path = write_tiff(tmp_path / "a.tif", ([data], tags))
    np.testing.assert_array_equal(load_image(path).values, page)
    path = write_tiff(tmp_path / "b.tif", ([zlib.compress(data)], tags | {259: 8}))
    np.testing.assert_array_equal(load_image(path).values, page)


def test_a_mask_of_one_bit_is_not_inverted(tmp_path):
    """As tifffile writes it, white is zero."""
    mask = np.repeat(np.array([[0], [0], [0], [1]], np.uint8), 3, axis=1)
    path = write_tiff(tmp_path / "a.tif", ([packed(mask, 1)], directory(mask)[1] | {258: 1, 262: 0}))
    np.testing.assert_array_equal(load_image(path).values, mask)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_png_of_few_bits_is_read_as_stored(tmp_path, bits):
    """Labels 0, ..., 3 of two bits are shown as 0, 85, 170, 255."""
    page = np.random.default_rng(2).integers(0, 2**bits, (5, 6))
    data = page.astype(">u2").tobytes() if bits == 16 else packed(page, bits)
    width = len(data) // 5
    rows = b"".join(b"\0" + data[i : i + width] for i in range(0, len(data), width))
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", 6, 5, bits, 0, 0, 0, 0)
    for name, chunk in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(chunk)) + name + chunk + struct.pack(">I", zlib.crc32(name + chunk))
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png").values, page)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64", "float16"]
)
def test_compressed_stacks_keep_their_type(tmp_path, dtype):
    stack = (STACK * 1e7).astype("int64").astype(dtype) if dtype != "float16" else STACK.astype(dtype)
    pages = []
    for page in stack:
        (data,), tags = directory(page)
        pages.append(([zlib.compress(data)], tags | {259: 8}))
    found = load_image(write_tiff(tmp_path / "a.tif", *pages)).values
    np.testing.assert_array_equal(found, stack)
    assert found.dtype == dtype


@pytest.mark.parametrize("size", [(6, 4), (200, 300)])
def test_a_picture_may_be_larger_than_pillow_allows(tmp_path, monkeypatch, size):
    """Pillow refuses more than 179 million pixels; its limit, which all its users share, stays."""
    page = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    PIL.Image.fromarray(page).save(tmp_path / "a.png")
    write_tiff(tmp_path / "a.tif", directory(page))
    PIL.Image.fromarray(page).save(tmp_path / "b.tif", compression="tiff_lzw")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 11)
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(load_image(tmp_path / name).values, page)
    assert PIL.Image.MAX_IMAGE_PIXELS == 11


# --- stacks in one directory ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("note", [IMAGEJ, '{"shape": [5, 7, 11], "truncated": true}'])
def test_slices_behind_the_only_directory_are_read(tmp_path, note, order):
    """As ImageJ writes them above 4 GB, and tifffile with truncate=True; the first slice came alone."""
    path = write_tiff(tmp_path / "a.tif", directory(STACK, order, tag270=note), order=order)
    np.testing.assert_array_equal(load_image(path).values, STACK)


@pytest.mark.x32
def test_volumes_in_one_directory_are_read(tmp_path):
    """tifffile with volumetric=True: strips of the slices, or tiles with a depth."""
    strips = [piece for page in STACK for piece in directory(page, strip=4)[0]]
    tags = directory(STACK[0], strip=4)[1] | {32997: 5, 270: '{"shape": [5, 7, 11]}'}
    np.testing.assert_array_equal(load_image(write_tiff(tmp_path / "a.tif", (strips, tags))).values, STACK)
    padded = np.pad(STACK, [(0, 3), (0, 9), (0, 5)])
    tiles = [padded[i : i + 4, :, j : j + 8].tobytes() for i in (0, 4) for j in (0, 8)]
    path = write_tiff(tmp_path / "a.tif", (tiles, tags | {322: 8, 323: 16, 32998: 4}))
    np.testing.assert_array_equal(load_image(path).values, STACK)


def test_tiles_are_put_together(tmp_path):
    page = np.arange(20 * 35, dtype=np.float64).reshape(20, 35)
    padded = np.pad(page, [(0, 12), (0, 13)])
    tiles = [padded[i : i + 16, j : j + 16].tobytes() for i in (0, 16) for j in (0, 16, 32)]
    path = write_tiff(tmp_path / "a.tif", (tiles, directory(page)[1] | {322: 16, 323: 16}))
    np.testing.assert_array_equal(load_image(path).values, page)


# --- what is refused ---

PAGE = np.arange(77, dtype=np.uint8).reshape(7, 11)
HYPERSTACK = "ImageJ=1.54f\nimages=10\nchannels=2\nslices=5\n"
OME = (
    '<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYZCT" Type="uint16" SizeX="11" SizeY="7" SizeC="2"'
    ' SizeZ="5" SizeT="1"><TiffData/></Pixels></Image></OME>'
)
REFUSED = {
    "colours": (directory(PAGE, tag262=2, tag277=3), "colour picture .3 numbers per pixel, RGB"),
    "CMYK": (directory(PAGE, tag262=5, tag277=4), "colour picture .4 numbers per pixel, CMYK"),
    "palette": (directory(PAGE, tag262=3), "colour picture .1 numbers per pixel, indices of a palette"),
    "alpha": (directory(PAGE, tag277=2), "colour picture .2 numbers per pixel, grey"),
    "upside down": (directory(PAGE, tag274=3), "is turned or mirrored .* save it upright"),
    "complex": (directory(PAGE.astype(np.complex64)), "holds complex64; expected real numbers"),
    "channels": (directory(np.tile(STACK, (2, 1, 1)), tag270=HYPERSTACK), r"channels, slices or times, \(5, 2\)"),
    "OME": (directory(np.tile(STACK, (2, 1, 1)), tag270=OME), r"channels, slices or times, \(2, 5\)"),
    "shape": (directory(STACK, tag270=json.dumps({"shape": [5, 2, 7, 11]})), r"channels, slices or times, \(5, 2\)"),
    "cut short": (directory(STACK[:2], tag270=IMAGEJ), "a.tif says that it holds more slices than it does"),
    "cut": (directory(STACK[:2], tag270='{"shape": [5, 7, 11], "truncated": true}'), "a.tif cannot be read as TIFF"),
    "frames": (directory(PAGE, tag270=OME.replace('"2"', '"1"')), "holds more slices than it does; it is cut"),
    "strips": (directory(PAGE, tag278=2), "pieces of the picture are missing"),
    "jpeg": (directory(PAGE, tag259=7), "a.tif cannot be read as TIFF: Not a JPEG file"),
    "deflated": (directory(PAGE, tag259=8), "a.tif cannot be read as TIFF: .* may be damaged"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_a_tiff_that_is_no_stack_of_numbers_is_refused(tmp_path, content, message):
    path = write_tiff(tmp_path / "a.tif", content)
    with pytest.raises(ValueError, match=message):
        load_image(path)


def test_a_stack_with_fewer_pages_than_noted_is_cut_short(tmp_path):
    pages = [directory(page, tag270=IMAGEJ) for page in STACK[:3]]
    with pytest.raises(ValueError, match="says that it holds more slices than it does"):
        load_image(write_tiff(tmp_path / "a.tif", *pages))


def test_a_palette_says_where_its_indices_are(tmp_path):
    PIL.Image.fromarray(PAGE).convert("P").save(tmp_path / "a.png")
    with pytest.raises(
        ValueError, match=r"mode P: .*\(mode P\), numpy.array\(PIL.Image.open\(path\)\) has the indices"
    ):
        load_image(tmp_path / "a.png")


def test_a_picture_under_a_wrong_suffix_is_refused(tmp_path):
    for suffix in ("png", "tif"):
        PIL.Image.fromarray(PAGE > 9).save(tmp_path / f"a.{suffix}", format="PPM")
        with pytest.raises(ValueError, match=rf"a\.{suffix} cannot be read as "):
            load_image(tmp_path / f"a.{suffix}")
