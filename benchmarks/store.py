"""Results of benchmarks: JSON files with what they were measured on, on the disk after every row; and cached arrays."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, describe_machine

CACHE = ROOT / "benchmarks" / "cache"


def new_parser(doc: str | None, quick: str | None = "one small case: does it run at all?") -> argparse.ArgumentParser:
    """A parser that shows the docstring of a script, with the option --quick if its help is not None."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if quick is not None:
        parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def results_folder(quick: bool) -> Path:
    """benchmarks/results, or out for runs that only try whether everything runs."""
    return ROOT / ("out" if quick else "benchmarks/results")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file beside its place and rename it: a run that is stopped leaves the old one or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{path.suffix}")
    write(part)
    part.replace(path)


def write_json(path: Path, content) -> None:
    """Write numbers, those of NumPy too, with names."""
    write_whole(path, lambda part: part.write_text(json.dumps(content, indent=1, default=float) + "\n"))


def cached_array(name: str, make: Callable[[], Any]) -> np.ndarray:
    """The array of a file in the cache, made if it is not there."""
    path = CACHE / f"{name}.npy"
    if not path.exists():
        write_whole(path, lambda part: np.save(part, make()))
    return np.load(path)


class Store:
    """A file of results, whose content is a dictionary of dictionaries.

    Args:
        name: of the file, without suffix.
        packages: distributions whose versions are recorded.
        quick: as in `results_folder`.
        folder: instead of that.
        settings: part of the content; a run that was stopped goes on where the same settings are in the file.
    """

    def __init__(
        self, name: str, packages: Sequence[str], *, quick: bool = False, folder: Path | None = None, settings=None
    ):
        self.folder = folder or results_folder(quick)
        self.path = self.folder / f"{name}.json"
        self.content: dict = {**(settings or {}), "machine": describe_machine(packages)}
        if settings and self.path.exists():
            found = json.loads(self.path.read_text())
            if all(found.get(key) == value for key, value in json.loads(json.dumps(settings)).items()):
                self.content = found

    def has(self, *keys) -> bool:
        """Whether there is a value under these keys, one within the other."""
        inner: Any = self.content
        for key in map(str, keys):
            if key not in inner:
                return False
            inner = inner[key]
        return True

    def put(self, *keys_and_value) -> None:
        """Store a value under keys, one within the other, and write the file."""
        *keys, last, value = keys_and_value
        inner = self.content
        for key in map(str, keys):
            inner = inner.setdefault(key, {})
        inner[str(last)] = value
        write_json(self.path, self.content)


def rounded(row: dict, digits: int = 4) -> dict:
    """A row to be shown."""
    return {key: round(value, digits) if isinstance(value, float) else value for key, value in row.items()}
