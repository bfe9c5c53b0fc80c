"""The state of a run in one file, replaced as a whole after each iteration."""

import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .._store import write_whole

_FINGERPRINT = "fingerprint"


class Checkpoint:
    """Named groups of arrays, in memory and, if a path is given, on disk.

    Whoever dies at whatever moment leaves the last whole state behind. It holds plain arrays and no pickles. Of joined
    processes (`jax.distributed`) all read the file, and the first one writes it.

    Args:
        path: the file, or None to keep the state in memory only.
        fingerprint: what the state belongs to.

    Raises:
        ValueError: if the file exists and is no checkpoint, or one of another run.
    """

    def __init__(self, path: str | os.PathLike | None, fingerprint: str):
        self.path = None if path is None else Path(path)
        self._fingerprint = fingerprint
        self._groups: dict[str, dict[str, np.ndarray]] = {}
        if self.path is not None and self.path.exists():
            self._load(self.path)
        elif self.path is not None and not self.path.absolute().parent.is_dir():
            raise ValueError(f"The folder of checkpoint={str(self.path)!r} does not exist.")

    def get(self, group: str) -> dict[str, np.ndarray] | None:
        """The arrays of a group, or None if there is no such group yet."""
        return self._groups.get(group)

    def put(self, **groups: dict[str, np.ndarray]) -> None:
        """Replace groups, and the file."""
        self._groups |= groups
        if self.path is None or jax.process_index() > 0:
            return
        flat: dict[str, Any] = {_FINGERPRINT: np.array(self._fingerprint)}
        flat |= {f"{name}/{key}": array for name, part in self._groups.items() for key, array in part.items()}
        write_whole(self.path, lambda file: np.savez(file, **flat))

    def _load(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is not a checkpoint of this package ({error}); remove it or choose another path."
            ) from error
        found = str(arrays.pop(_FINGERPRINT, ""))
        if found != self._fingerprint:
            raise ValueError(
                f"{path} belongs to another run: the data, the key, the model's parameters and prior, the sizes or"
                " the settings differ. Repeat the call that began it to resume, or remove the file to start anew."
            )
        for name, array in arrays.items():
            group, key = name.split("/", 1)
            self._groups.setdefault(group, {})[key] = array
