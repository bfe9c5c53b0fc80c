"""The walls of the house: who may import whom, and what no source file may contain.

Every rule is a function ``(module, tree, source) -> problems`` over one file, and every rule is shown files that
break it (``BROKEN``), so that a rule which can no longer fail fails here.
"""

import ast
import functools
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

PACKAGE = "numpyro_homog"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE

# The table of levels; a package's private files share its level. A new name at the top must be entered here.
LEVELS = {
    "_results": 0,
    "_keys": 0,
    "_platform": 0,
    "_pickling": 0,
    "_tracing": 0,
    "_store": 0,
    "_table": 0,
    "_programs": 1,
    "tensors": 1,
    "grids": 1,
    "summaries": 1,  # divergences are made of them
    "meshes": 1,
    "homogenization": 2,
    "descriptors": 2,
    "clouds": 2,  # how tensors become the points that a divergence takes: neither knows the other
    "divergences": 2,
    "coordinates": 3,  # the old name of a part of clouds
    "distributions": 3,
    "surrogates": 3,
    "_compat": 3,
    "primitives": 4,
    "population": 4,  # simulated specimens of a model; handlers and infer share it
    "handlers": 5,
    "optimise": 5,
    "infer": 6,
    "images": 7,
    "io": 7,
    "plots": 7,
    "datasets": 7,
    "": 8,  # numpyro_homog/__init__.py
}
FIRST_NUMPYRO_LEVEL = 3
JAX_FEM_FILE = "homogenization._jax_fem"
COMPAT_FILE = "_compat"
MAX_LINES, HARD_MAX_LINES, MAX_MEDIAN = 300, 400, 115
# NumPyro names without an underscore that are internal all the same.
INTERNALS = {"numpyro.primitives.apply_stack"}
OUTSIDE = {"jax_fem", "gmsh", "petsc4py"}
DYNAMIC_IMPORTS = {"__import__", "import_module", "importlib.import_module"}
PRINTING = {"print", "sys.stdout.write", "sys.stderr.write", "jax.debug.print"}
FILTERS = {"warnings.filterwarnings", "warnings.simplefilter"}
SWITCHES = {"jax.config.update", "config.update", "numpyro.enable_x64", "numpyro.set_platform"}
SWITCHES |= {"numpyro.set_host_device_count", "numpyro.enable_validation"}


@functools.cache
def parsed() -> dict[str, tuple[ast.AST, str]]:
    """Syntax tree and text of each file."""
    return {module: (ast.parse(source := path.read_text()), source) for module, path in FILES.items()}


def parts_of(path: Path) -> str:
    """``.../numpyro_homog/homogenization/_cell.py`` -> ``homogenization._cell``; an ``__init__`` is its package."""
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {parts_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
PACKAGES = {name for name, path in FILES.items() if path.name == "__init__.py"}


def top(module: str) -> str:
    return module.split(".")[0]


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """The calls in a file, each with the name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def imports(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Absolute dotted names that a file imports anywhere, inside functions too; ``from a import b`` gives ``a.b``."""
    package = [PACKAGE, *filter(None, module.split("."))]
    if module not in PACKAGES:
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"
    for node, name in calls(tree):
        # Of a dynamic import only a literal absolute name can be checked.
        if name in DYNAMIC_IMPORTS and node.args and isinstance(node.args[0], ast.Constant):
            yield node.lineno, str(node.args[0].value)


def own_imports(module: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Our modules that a file imports, as names within the package; ``""`` is the package itself."""
    for line, name in imports(module, tree):
        if name == PACKAGE or name.startswith(PACKAGE + "."):
            inner = name.removeprefix(PACKAGE).lstrip(".")
            # `from numpyro_homog.grids import Grid` names the module `grids`; longest known prefix.
            while inner and inner not in FILES and top(inner) != inner:
                inner = inner.rpartition(".")[0]
            yield line, inner if inner in FILES or inner in LEVELS else ""


# --- the rules ---


def imports_point_down(module, tree, source):
    """Levels import lower levels only, not their own and not the whole package; within a package all is free."""
    here = top(module)
    if here not in LEVELS:
        yield f"{module} is not in the layer table"
        return
    for line, name in own_imports(module, tree):
        there = top(name)
        if there != here and LEVELS.get(there, 9) >= LEVELS[here]:
            yield f"{line}: {module} (level {LEVELS[here]}) imports {name or PACKAGE} (level {LEVELS.get(there, '?')})"


def the_pure_levels_have_no_numpyro(module, tree, source):
    """Levels 0 to 2 never import NumPyro."""
    if LEVELS.get(top(module), 0) < FIRST_NUMPYRO_LEVEL:
        for line, name in imports(module, tree):
            if top(name) == "numpyro":
                yield f"{line}: {module} imports {name}"


def one_file_imports_jax_fem(module, tree, source):
    """JAX-FEM, and the gmsh and PETSc that it drags in, are touched in one file."""
    if module != JAX_FEM_FILE:
        for line, name in imports(module, tree):
            if top(name) in OUTSIDE:
                yield f"{line}: {module} imports {name}"


def jax_fem_is_imported_lazily(module, tree, source):
    """Even there, only inside functions."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = {id(inner) for node in ast.walk(tree) if isinstance(node, functions) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in inside:
            for line, name in imports(module, ast.Module([node], [])):
                if top(name) in OUTSIDE:
                    yield f"{line}: {module} imports {name} at module level"


def one_file_touches_internals(module, tree, source):
    """Private names of NumPyro and JAX, and NumPyro's handler stack, only in _compat."""
    if module == COMPAT_FILE:
        return
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or top(alias.name)] = alias.name if alias.asname else top(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    used = list(imports(module, tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, dot, rest = ast.unparse(node).partition(".")
            if first in aliases:
                used.append((node.lineno, aliases[first] + dot + rest))
    for line, name in used:
        if top(name) not in ("numpyro", "jax", "jaxlib"):
            continue
        if name in INTERNALS or any(part.startswith("_") and not part.endswith("__") for part in name.split(".")):
            yield f"{line}: {module} uses {name}"


def annotations_are_evaluated(module, tree, source):
    """No ``from __future__ import annotations``: it blinds the run-time shape checks."""
    for line, name in imports(module, tree):
        if name == "__future__.annotations":
            yield f"{line}: {module}"


def files_are_short(module, tree, source):
    """No file over the limit: at most 300 lines, an exception with a reason up to 400."""
    lines = source.count("\n")
    if lines > HARD_MAX_LINES:
        yield f"{module} has {lines} lines; {HARD_MAX_LINES} is an error, split it"
    elif lines > MAX_LINES and "# over 300 lines because" not in source:
        yield f"{module} has {lines} lines; split it, or say '# over 300 lines because ...' in the file"


def nothing_prints(module, tree, source):
    """No print, no writing to the standard streams."""
    for node, name in calls(tree):
        if name in PRINTING:
            yield f"{node.lineno}: {module} prints"


def nothing_is_asserted(module, tree, source):
    """No bare assert: messages are advice, and ``python -O`` must not change what is checked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: {module} asserts"


def the_init_only_re_exports(module, tree, source):
    """``numpyro_homog/__init__.py`` holds imports, ``__all__``, ``__version__`` and a docstring."""
    if module:
        return
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        listing = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__")
        if not (docstring or listing or isinstance(node, ast.Import | ast.ImportFrom)):
            yield f"{node.lineno}: {type(node).__name__} in {PACKAGE}/__init__.py"


def no_flag_is_set(module, tree, source):
    """No global switch: neither JAX's and NumPyro's flags nor warning filters."""
    managed = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and "catch_warnings" in ast.unparse(node.items[0])
        for inner in ast.walk(node)
    }
    for node, name in calls(tree):
        # JAX-FEM throws a switch when it is imported; the file that imports it puts it back.
        restored = module == JAX_FEM_FILE and name.endswith("config.update")
        if (name in SWITCHES and not restored) or (name in FILTERS and id(node) not in managed):
            yield f"{node.lineno}: {module} calls {name}"


RULES = [
    imports_point_down,
    the_pure_levels_have_no_numpyro,
    one_file_imports_jax_fem,
    jax_fem_is_imported_lazily,
    one_file_touches_internals,
    annotations_are_evaluated,
    files_are_short,
    nothing_prints,
    nothing_is_asserted,
    the_init_only_re_exports,
    no_flag_is_set,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_source_obeys(rule):
    problems = [problem for module, (tree, source) in parsed().items() for problem in rule(module, tree, source)]
    assert not problems, inspect.getdoc(rule) + "\n" + "\n".join(problems)


# (rule, module that is pretended, source that breaks the rule)
BROKEN = [
    (imports_point_down, "tensors", "from numpyro_homog.homogenization import solve_cell"),
    (imports_point_down, "tensors", "from .handlers import emulate"),
    (imports_point_down, "tensors", "from . import infer"),
    (imports_point_down, "tensors", "import numpyro_homog.infer"),
    (imports_point_down, "homogenization._solve", "from ..divergences import SlicedWasserstein"),
    (imports_point_down, "homogenization._solve", "def f():\n    from .. import primitives"),
    (imports_point_down, "homogenization._solve", "import importlib\nimportlib.import_module('numpyro_homog.infer')"),
    (imports_point_down, "homogenization", "import numpyro_homog as nh"),
    (imports_point_down, "distributions._laguerre", "from numpyro_homog import _compat"),
    (imports_point_down, "tensors", "from numpyro_homog.grids import Grid"),
    (imports_point_down, "handlers._emulate", "from numpyro_homog.infer import MinimumDistance"),
    (imports_point_down, "infer._fit", "from numpyro_homog.plots import plot_cloud"),
    (imports_point_down, "novelty", "import jax"),
    (the_pure_levels_have_no_numpyro, "homogenization._cell", "from numpyro import distributions"),
    (the_pure_levels_have_no_numpyro, "divergences", "import numpyro.distributions as dist"),
    (one_file_imports_jax_fem, "homogenization._cell", "def f():\n    from jax_fem.fe import FiniteElement"),
    (one_file_imports_jax_fem, "infer", "import gmsh"),
    (jax_fem_is_imported_lazily, JAX_FEM_FILE, "import jax_fem"),
    (one_file_touches_internals, "primitives", "from numpyro.primitives import apply_stack"),
    (one_file_touches_internals, "primitives", "import numpyro\nnumpyro.primitives._PYRO_STACK.append(1)"),
    (one_file_touches_internals, "grids", "import jax\njax._src.core.trace_ctx"),
    (one_file_touches_internals, "grids", "from jax._src import core"),
    (one_file_touches_internals, "handlers", "import numpyro.infer.util as u\nu._something(1)"),
    (annotations_are_evaluated, "grids", "from __future__ import annotations"),
    (files_are_short, "grids", "x = 1\n" * (MAX_LINES + 1)),
    (files_are_short, "grids", "# over 300 lines because\n" * (HARD_MAX_LINES + 1)),
    (nothing_prints, "infer", "def f():\n    print('hello')"),
    (nothing_is_asserted, "infer", "assert True"),
    (the_init_only_re_exports, "", "import jax\nx = jax.numpy.ones(3)"),
    (no_flag_is_set, "infer", "import jax\njax.config.update('jax_enable_x64', True)"),
    (no_flag_is_set, "infer", "import warnings\nwarnings.simplefilter('ignore')"),
]


@pytest.mark.parametrize(("rule", "module", "source"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_each_rule_can_fail(rule, module, source):
    assert list(rule(module, ast.parse(source), source))


def test_every_rule_is_shown_to_fail():
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_allowed_imports_pass():
    source = (
        "import jax\nfrom numpyro_homog.tensors import components\nfrom ._cell import CellProblem\n"
        "from jax.experimental import sparse\nimport jax.numpy as jnp\njnp.ones(3).__class__"
    )
    for rule in RULES:
        assert not list(rule("homogenization._solve", ast.parse(source), source)), rule.__name__


def cycles(graph):
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]


def test_no_import_cycle_between_files():
    """The table forbids cycles between packages; this one finds them between the files of one package."""
    graph = {}
    for module, (tree, _) in parsed().items():
        targets = {name for _, name in own_imports(module, tree) if name}
        graph[module] = targets
    assert cycles(graph) is None
    assert cycles({"a": {"b"}, "b": {"a"}}) is not None


def test_files_are_short_in_the_median():
    lengths = [path.read_text().count("\n") for path in FILES.values() if path.name != "__init__.py"]
    assert median(lengths) < MAX_MEDIAN


def test_the_table_matches_what_python_loads():
    """The static view misses nothing: importing one pure module loads no NumPyro and nothing above it."""
    pure = {name for name, level in LEVELS.items() if level < FIRST_NUMPYRO_LEVEL}
    code = f"""
import importlib, sys, types
package = sys.modules['{PACKAGE}'] = types.ModuleType('{PACKAGE}')  # in place of __init__.py, which imports all
package.__path__ = [{str(SOURCE)!r}]
for name in {sorted(pure & FILES.keys())!r}:
    importlib.import_module('{PACKAGE}.' + name)
print(*(name.removeprefix('{PACKAGE}.') for name in sys.modules))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {top(name) for name in process.stdout.split()}
    assert pure & FILES.keys() <= loaded
    assert not loaded & ({"numpyro"} | OUTSIDE)
    assert not {name for name in loaded & LEVELS.keys() if name not in sys.stdlib_module_names} - pure


def test_what_is_overridden_is_abstract_or_a_default():
    """A method with a body that a subclass replaces says so: "default: ..." in its docstring."""
    classes = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = {part.name: part for part in node.body if isinstance(part, ast.FunctionDef)}
                classes[node.name] = ([ast.unparse(base).rpartition(".")[2] for base in node.bases], methods)

    def inherited(name):
        for base in classes.get(name, ([], {}))[0]:
            yield from classes.get(base, ([], {}))[1].values()
            yield from inherited(base)

    silent = [
        f"{name}.{method.name}"
        for name, (_, methods) in classes.items()
        for method in inherited(name)
        if method.name in methods
        and not method.name.startswith("__")
        and not any("abstract" in ast.unparse(mark) for mark in method.decorator_list)
        and "default:" not in (ast.get_docstring(method) or "")
    ]
    assert not silent
    assert "AbstractLaw" in classes
