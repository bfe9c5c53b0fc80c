"""Sphinx configuration; `make docs` builds the pages."""

import importlib
import os
import pkgutil
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for script_reader

project = "numpyro-homog"
author = "The numpyro-homog developers"
release = version = installed_version("numpyro-homog")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "conf.py", "script_reader.py"]
html_theme = "furo"
html_title = project

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# docs/tutorials is a link to the scripts in tutorials/. They take minutes: run them only when asked to.
nb_custom_formats = {".py": "script_reader.read_script"}
nb_execution_mode = os.environ.get("NUMPYRO_HOMOG_DOCS_EXECUTE", "off")
nb_execution_timeout = 1800

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the stars of a shape annotation are not emphasis

LITERAL = re.compile(r"(``.+?``|`[^`\n]+?`(?!_)|:\w+:`.+?`)")


def plain_text_to_rst(app, what, name, obj, options, lines):
    """Let docstrings stay plain text: `x` is code, and the stars of (*batch, d, d) are stars."""
    in_example = False
    for number, line in enumerate(lines):
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        if in_example:
            continue
        pieces = LITERAL.split(line)
        for i, piece in enumerate(pieces):
            if i % 2 == 0:
                pieces[i] = piece.replace("*", r"\*").replace("|", r"\|")
            elif piece.startswith("`") and not piece.startswith("``"):
                pieces[i] = f"`{piece}`"
        lines[number] = "".join(pieces)


def public_modules():
    package = importlib.import_module("numpyro_homog")
    for module in pkgutil.iter_modules(package.__path__, "numpyro_homog."):
        if not module.name.rpartition(".")[2].startswith("_"):
            yield module.name, module.ispkg


def list_the_modules(app, docname, source):
    """Fill the API page with what there is, so that a new module cannot be forgotten."""
    if docname == "api":
        for name, is_package in public_modules():
            imported = ":imported-members:" if is_package else ""
            directive = f".. automodule:: {name}\n   :members:\n   {imported}".rstrip()
            source[0] += f"\n## {name.removeprefix('numpyro_homog.')}\n\n```{{eval-rst}}\n{directive}\n```\n"


def setup(app):
    app.connect("source-read", list_the_modules)
    # Before napoleon (priority 500) turns sections into fields.
    app.connect("autodoc-process-docstring", plain_text_to_rst, priority=400)
