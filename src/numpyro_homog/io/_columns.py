"""Which columns of a table make a tensor."""

import re

from ._tables import Table

# Indices along one axis of the tensors that a letter may name: conductivities, and stiffnesses in the notations of
# Voigt (of a plane one the shear is 6 or 3) and Mandel.
INDICES = {
    "K": ((1, 2), (1, 2, 3)),
    "C": ((1, 2, 6), (1, 2, 3), (1, 2, 3, 4, 5, 6)),
    "M": ((1, 2, 3), (1, 2, 3, 4, 5, 6)),
}
_ACCEPTED = {
    "K": "K11,K12,K22 or all four in 2D, K11,K12,K13,K22,K23,K33 or all nine in 3D",
    "C": "stiffnesses in Voigt notation, C11,C12,C16,C22,C26,C66 (or C11,C12,C13,C22,C23,C33) in 2D and C11,C12,...,C66"
    " (21 of them) in 3D, or all",
    "M": "stiffnesses in Mandel notation, M11,M12,M13,M22,M23,M33 in 2D and M11,M12,...,M66 (21 of them) in 3D, or all",
}


def find_columns(table: Table, symbol: str | None) -> tuple[str, tuple[int, ...], dict[str, int]]:
    """Letter and indices of the tensor that the header names, or that with the letter, and where each component is."""
    if symbol is not None and symbol not in INDICES:
        raise ValueError(f"symbol must be one of {', '.join(map(repr, INDICES))}; got {symbol!r}.")
    names, where = [name.upper() for name in table.header], f"{table.name}, {table.place}"
    came = {one: [name for name in names if re.fullmatch(f"{one}[1-9][1-9]", name)] for one in symbol or INDICES}
    duplicates = sorted({name for own in came.values() for name in own if own.count(name) > 1})
    if duplicates:
        raise ValueError(f"{where}: the header names {', '.join(duplicates)} more than once; keep one each.")
    complete = [
        (letter, indices, {name: names.index(name) for name in component_names(letter, indices, full=full)})
        for letter, own in came.items()
        for indices in INDICES[letter]
        for full in (False, True)
        if set(own) == set(component_names(letter, indices, full=full))
    ]
    if len(complete) > 1:
        raise ValueError(
            f"{where}: the header names several tensors; choose one by symbol=..., there are"
            f" {', '.join(repr(letter) for letter, _, _ in complete)}."
        )
    if not complete:
        raise ValueError(f"{where}: the columns do not make a tensor. {_what_is_missing(table.header, came)}")
    return complete[0]


def component_names(symbol: str, indices: tuple[int, ...], *, full: bool = False) -> list[str]:
    """Names of the components, row by row, of the upper triangle or of all."""
    return [f"{symbol}{i}{j}" for i in indices for j in indices if full or i <= j]


def _what_is_missing(header: list[str], came: dict[str, list[str]]) -> str:
    letter, own = max(came.items(), key=lambda item: len(item[1]))
    used = {int(digit) for name in own for digit in name[1:]} & {i for one in INDICES[letter] for i in one}
    # A column such as K33 beside K11, K12, K22 is not ignored: the tensor would silently be another one.
    indices = next(one for one in sorted(INDICES[letter], key=len) if used <= set(one))
    ndim = 2 if len(indices) == (2 if letter == "K" else 3) else 3
    expected = component_names(letter, indices, full=any(name[1] > name[2] for name in own))
    missing = ", ".join(name for name in expected if name not in own)
    unknown = ", ".join(name for name in own if name not in expected)
    return (
        f"The header names {', '.join(map(repr, header))}; expected {', '.join(expected)} ({ndim}D)"
        + (f"; missing {missing}" if missing else "")
        + (f"; not a component in {ndim}D: {unknown}" if unknown else "")
        + f". Accepted are {'; '.join(_ACCEPTED[one] for one in came)}."
    )
