"""Input files of Abaqus: nodes, elements, and the sets and sections that tell the phases."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ._contents import Contents

# Number of nodes of an element type, and the name that meshio has for it; stresses, heat and acoustics alike.
_PLANE = re.compile(r"(?:CPE|CPS|CPEG|DC2D|AC2D|M3D|SFM3D|S|STRI|R3D)([3468])[A-Z0-9]*")
_SOLID = re.compile(r"(?:C3D|DC3D|AC3D)(10|15|20|4|6|8)[A-Z]*")
# Bars, beams, springs, masses: not of the dimension of the cell.
_LINES = re.compile(r"(?:T[23]D|B[23]|DC1D|R2D|RB[23]D|PIPE|FRAME|SPRING|DASHPOT|CONN|GAP|MASS|ROTARYI).*")
_PLANE_TYPES = {3: "triangle", 4: "quad", 6: "triangle6", 8: "quad8"}
_SOLID_TYPES = {4: "tetra", 6: "wedge", 8: "hexahedron", 10: "tetra10", 15: "wedge15", 20: "hexahedron20"}


def read_abaqus(path: Path) -> Contents:
    """Elements of two and three dimensions; sets in three groups: sections by material, *ELSET, *ELEMENT with ELSET."""
    nodes: dict[int, list[float]] = {}
    blocks: list[tuple[str, np.ndarray]] = []
    ids: list[int] = []
    groups: list[dict[str, list[int]]] = [{}, {}, {}]
    sections, sets, own_sets = groups
    spelled: dict[str, str] = {}  # Abaqus does not tell upper from lower case; the first spelling is shown
    parts, outside = 0, False
    for place, keyword, parameters, lines in _statements(path):
        try:
            names = {key: spelled.setdefault(value.upper(), value) for key, value in parameters.items()}
            if keyword == "PART":
                parts += 1
            elif keyword in ("ASSEMBLY", "INSTANCE", "ENDINSTANCE", "ENDASSEMBLY"):
                outside = keyword in ("ASSEMBLY", "ENDINSTANCE")
            elif keyword == "NODE" and not outside:  # nodes of an assembly are reference points
                for line in lines:
                    number, *coordinates = line.rstrip(", ").split(",")
                    nodes[int(number)] = ([float(x) for x in coordinates[:3]] + [0.0, 0.0])[:3]
            elif keyword == "ELEMENT":
                if (block := _elements(parameters["TYPE"].upper(), lines)) is not None:
                    file_type, table = block
                    numbers = table[:, 0].tolist()
                    blocks.append((file_type, table[:, 1:]))
                    ids.extend(numbers)
                    if "ELSET" in names:
                        own_sets.setdefault(names["ELSET"], []).extend(numbers)
            elif keyword == "ELSET":
                sets.setdefault(names["ELSET"], []).extend(
                    _members(lines, "GENERATE" in parameters, {**own_sets, **sets}, spelled)
                )
            elif keyword.endswith("SECTION") and {"MATERIAL", "ELSET"} <= names.keys():
                members = [*sets.get(names["ELSET"], []), *own_sets.get(names["ELSET"], [])]
                sections.setdefault(names["MATERIAL"], []).extend(members)
        except (ValueError, KeyError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{place}: *{keyword} cannot be read: {reason}.") from error
    if parts > 1 or len(set(ids)) < len(ids):
        raise ValueError(f"{path} has several parts, or several elements of one number; a mesh is one part.")
    index = {node: i for i, node in enumerate(nodes)}
    try:
        tables = [(name, np.array([[index[i] for i in row] for row in table.tolist()])) for name, table in blocks]
    except KeyError as error:
        raise ValueError(f"{path}: an element refers to the node {error}, which the file does not have.") from error
    row = {element: i for i, element in enumerate(ids)}
    found = [
        {name: np.array([row[i] for i in one if i in row], int) for name, one in group.items()} for group in groups
    ]
    return Contents(np.array(list(nodes.values())).reshape(-1, 3), tables, {}, found, {})


def _statements(path: Path) -> Iterator[tuple[str, str, dict[str, str], list[str]]]:
    """Place, keyword, parameters and data lines of each statement."""
    header, place = "", ""
    lines: list[str] = []
    for here, line in _lines(path):
        if line.startswith("*"):
            if header:
                yield place, *_keyword(header), lines
            header, lines, place = line, [], here
        elif header.endswith(","):
            header += line
        else:
            lines.append(line)
    if header:
        yield place, *_keyword(header), lines


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line that is no comment; included files stand in their place."""
    for count, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        line = line.strip()
        if re.match(r"\*\s*INCLUDE\b", line, re.IGNORECASE):
            yield from _lines(path.parent / _keyword(line)[1]["INPUT"])
        elif line and not line.startswith("**"):
            yield f"{path}, line {count}", line


def _keyword(header: str) -> tuple[str, dict[str, str]]:
    keyword, *parameters = header.lstrip("*").split(",")
    pairs = [part.partition("=") for part in parameters if part.strip()]
    named = {key.strip().upper(): value.strip().strip('"') for key, _, value in pairs}
    return keyword.upper().replace(" ", ""), named


def _elements(element_type: str, lines: list[str]) -> tuple[str, Int[np.ndarray, "num nodes"]] | None:
    """The name of meshio and a table of numbers: of the element, of its nodes. None for what is left out."""
    for pattern, names in ((_PLANE, _PLANE_TYPES), (_SOLID, _SOLID_TYPES)):
        if match := pattern.fullmatch(element_type):
            numbers = np.array([int(x) for line in lines for x in line.split(",") if x.strip()])
            return names[int(match[1])], numbers.reshape(-1, int(match[1]) + 1)
    if _LINES.fullmatch(element_type):
        return None
    raise ValueError(
        f"the element type {element_type} is not known; supported are plane elements such as CPE3, CPS4, CPE4R, DC2D4,"
        " CPE6, CPS8, and solids such as C3D4, C3D8, C3D10, C3D20, DC3D8"
    )


def _members(lines: list[str], generate: bool, known: dict[str, list[int]], spelled: dict[str, str]) -> list[int]:
    """Numbers of the elements of a set, given as numbers, as ranges, or as names of other sets."""
    members: list[int] = []
    for line in lines:
        fields = [field.strip() for field in line.split(",") if field.strip()]
        if generate:
            first, last, *step = map(int, fields)
            members.extend(range(first, last + 1, *step))
            continue
        for field in fields:
            members.extend([int(field)] if field.isdecimal() else known[spelled.get(field.upper(), field)])
    return members
