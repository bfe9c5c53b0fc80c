"""Files that are whole or absent, and digests of what they belong to."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np


def write_whole(path: Path, write_fn: Callable[[BinaryIO], None]) -> None:
    """Write a file beside its place and rename it: whoever dies at whatever moment leaves the old one or the new."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write_fn(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def digest(*parts: object) -> str:
    """SHA-256 of arrays and printable settings; equal parts give equal digests in every process."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).tobytes())
        else:
            found.update(repr(part).encode())
        found.update(b"|")
    return found.hexdigest()
