"""Sphinx configuration; `make docs` builds the pages."""

import importlib
import os
import pkgutil
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for pictures and script_reader

import pictures  # noqa: E402

project = "numpyro-homog"
author = "The numpyro-homog developers"
copyright = "2026, the numpyro-homog developers"
release = version = installed_version("numpyro-homog")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
exclude_patterns = ["_build", "conf.py", "make_readme_figure.py", "pictures.py", "script_reader.py"]
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_math_renderer = "mathml"  # browsers draw it without a script, hence without a network

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

# docs/tutorials is a link to the scripts in tutorials/. What they print and draw is kept in _build until they change.
os.environ.setdefault("FAST", "1")
nb_custom_formats = {".py": "script_reader.read_script"}
nb_execution_mode = os.environ.get("NUMPYRO_HOMOG_DOCS_EXECUTE", "cache")
nb_execution_timeout = 1800
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars

autosummary_generate = False  # the API pages hold everything

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


API_PAGE = """# {title}

```{{eval-rst}}
.. automodule:: {module}
   :members:
   {imported}
   {others}

   .. autosummary::
      :nosignatures:

      {names}
```
"""


def public_modules():
    package = importlib.import_module("numpyro_homog")
    for module in pkgutil.iter_modules(package.__path__, "numpyro_homog."):
        # The old name of a module only forwards, and has nothing of its own to show.
        members = vars(importlib.import_module(module.name)).items()
        own = [name for name, value in members if getattr(value, "__module__", "").startswith(module.name)]
        is_private = module.name.rpartition(".")[2].startswith("_")
        if not is_private and any(not name.startswith("_") for name in own):
            yield module.name, module.ispkg


def write_api_pages(app):
    """One page for each namespace, made of what there is, so that a new module cannot be forgotten."""
    (HERE / "api").mkdir(exist_ok=True)
    for module, is_package in public_modules():
        members = vars(importlib.import_module(module)).items()
        names = [name for name, value in members if getattr(value, "__module__", "").startswith(module)]
        # What another namespace owns is shown there.
        others = [name for name, value in members if getattr(value, "__module__", "").startswith("numpyro_homog")]
        others = [name for name in others if name not in names]
        content = API_PAGE.format(
            title=module.removeprefix("numpyro_homog."),
            module=module,
            names="\n      ".join(name for name in names if not name.startswith("_")),
            imported=":imported-members:" if is_package else "",
            others=f":exclude-members: {', '.join(others)}" if others else "",
        )
        path = HERE / "api" / f"{module.removeprefix('numpyro_homog.')}.md"
        if not path.exists() or path.read_text() != content:
            path.write_text(content)


def list_the_modules(app, docname, source):
    """Fill the first page of the API with the namespaces and what each is."""
    if docname == "api":
        for module, _ in public_modules():
            name, text = module.removeprefix("numpyro_homog."), importlib.import_module(module).__doc__
            source[0] += f"\n[{name}](api/{name}.md)\n: {text.splitlines()[0]}\n"


def visit_math(self, node):
    """LaTeX as MathML, which docutils can make of the usual commands."""
    try:
        self.body.append(tex2mathml(node.astext(), as_block=isinstance(node, nodes.math_block)))
    except MathError as error:
        logging.getLogger(__name__).warning("%s", error, location=node)
    raise nodes.SkipNode


def skip_fields(app, what, name, member, skip, options):
    """Fields of named tuples: their class has the words about them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def setup(app):
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("builder-inited", write_api_pages)
    app.connect("source-read", list_the_modules)
    app.connect("builder-inited", lambda app: pictures.draw(HERE / "_pictures"))
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    # Before napoleon (priority 500) turns sections into fields.
    app.connect("autodoc-process-docstring", plain_text_to_rst, priority=400)
