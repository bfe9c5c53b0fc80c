"""Which array or which sets of a file tell the phase of each element."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Int, Shaped

from ._contents import Contents

# Names of arrays that number the phases, in lower case, without the format and without signs between the words.
_PHASES = re.compile(
    r"celltags?|"
    r"(phase|label|mat|material|region|zone|attribute|block|elementblock|group|physical|domain|subdomain)s?"
    r"(id|ids|index|number|tag|tags)?"
)
# Arrays that number the pieces of a geometry, asked where nothing else tells.
_PIECES = ("gmsh:geometrical", "CellEntityIds", "medit:ref", "nastran:ref", "tetgen:ref", "ugrid:ref", "netgen:index")

_Labelled: TypeAlias = tuple[Int[np.ndarray, " n"] | None, Sequence[int | str] | None]  # labels and tags


def phases_of(
    path: Path, contents: Contents, rows: Int[np.ndarray, " n"], wanted: str | Sequence[str] | None
) -> _Labelled:
    """Labels of the elements `rows`, from 0, and what the file calls each of the phases; None for a single phase."""
    arrays = {name: values[rows] for name, values in contents.arrays.items()}
    groups = [{name: np.isin(rows, members) for name, members in group.items()} for group in contents.sets]
    listed = (
        f"It has the arrays {_listed(arrays)} and the sets {_listed(n for group in groups for n in group)}; say which:"
        " load_mesh(path, phases='array'), phases=['set', 'set', ...], or phases=[] for a single phase."
    )
    whole = {name: values for name, values in arrays.items() if np.array_equal(values, np.round(values))}
    if isinstance(wanted, str):
        if wanted not in whole:
            raise ValueError(f"{path} has no array {wanted!r} of whole numbers. {listed}")
        return _numbered(whole[wanted], contents.names.get(wanted, {}))
    if wanted is not None:
        return _chosen(path, {name: one for group in reversed(groups) for name, one in group.items()}, wanted, listed)
    kinds = {name: len(np.unique(values)) for name, values in whole.items()}
    named = [name for name in arrays if _PHASES.fullmatch(re.sub(r"^\w+:|[\W_]+", "", name.lower()))]
    if named:
        finest = max((name for name in named if name in whole), key=kinds.__getitem__, default=None)
        if finest is None or any(kinds.get(n, 0) > 1 and not _refines(whole[n], whole[finest]) for n in named):
            raise ValueError(
                f"{path} has the arrays {_listed(named)}, which disagree or hold no whole numbers. {listed}"
            )
        return _numbered(whole[finest], contents.names.get(finest, {}))
    found = [(labels, names) for names, labels in map(_partition, groups) if labels is not None]
    if found and all(_refines(labels, found[0][0]) for labels, _ in found):
        return found[0]
    proper = any(0 < np.sum(one) < len(rows) for group in groups for one in group.values())
    pieces = [name for name in _PIECES if kinds.get(name, 0) > 1]
    if pieces and not proper:
        return _numbered(whole[pieces[0]], {})
    if proper or any(1 < num < len(rows) for num in kinds.values()):
        raise ValueError(f"{path} does not tell the phases of its elements. {listed}")
    return None, None


def _numbered(values: Shaped[np.ndarray, " n"], names: dict[int, str]) -> _Labelled:
    tags, labels = np.unique(values, return_inverse=True)
    return labels.reshape(-1), [names.get(int(tag), int(tag)) for tag in tags]


def _chosen(path: Path, sets: dict[str, Bool[np.ndarray, " n"]], wanted: Sequence[str], listed: str) -> _Labelled:
    missing = [name for name in wanted if name not in sets]
    if missing:
        raise ValueError(f"{path} has no set {missing[0]!r}. {listed}")
    members = np.array([sets[name] for name in wanted])
    if not len(members):
        return None, None
    counts = members.sum(axis=0)
    if np.any(counts != 1):
        raise ValueError(
            f"Each element must be in one of the sets {_listed(wanted)} of {path}, but {np.sum(counts == 0)} are in"
            f" none of them and {np.sum(counts > 1)} in several. {listed}"
        )
    return members.argmax(axis=0), list(wanted)


def _partition(group: dict[str, Bool[np.ndarray, " n"]]) -> tuple[list[str], Int[np.ndarray, " n"] | None]:
    """The sets of a group that are parts of the mesh, and the labels they make; None if they overlap or leave gaps."""
    parts: dict[str, np.ndarray] = {}
    for name, members in group.items():
        if members.any() and not members.all() and not any(np.array_equal(members, one) for one in parts.values()):
            parts[name] = members
    table = np.array(list(parts.values()))
    return list(parts), table.argmax(axis=0) if len(parts) and np.all(table.sum(axis=0) == 1) else None


def _refines(fine: Shaped[np.ndarray, " n"], coarse: Shaped[np.ndarray, " n"]) -> bool:
    """Whether elements that share a label in `fine` share one in `coarse`."""
    return len(np.unique(np.stack([fine, coarse]), axis=1).T) == len(np.unique(fine))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "(none)"
