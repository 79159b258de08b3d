"""Sphinx configuration. The build needs no network: notebooks are run, references are local."""

import os
import re
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

# The notebooks run in processes of their own, which inherit this. They compile many small programs and run each once,
# so the compiler is told not to optimise much: it halves the time of the build. Pages that print times take that back.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("MATPLOTLIBRC", str(HERE / "matplotlibrc"))
if metadata.version("jaxlib").startswith("0.10."):  # its sums are wrong without this (jax_scorefn/_jaxlib.py)
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_experimental_ynn_fusion_type="

import jax_scorefn

project = "jax_scorefn"
author = "The jax_scorefn authors"
copyright = author
release = version = jax_scorefn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "links",
    "mathml",
    "gallery",
    "twins",
    "words",
    "sphinxcontrib.bibtex",
    "sphinx_codeautolink",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints", "jupyter_execute", "*.py", "pictures"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}  # the examples, which are scripts
nb_execution_mode = "force"
nb_execution_raise_on_error = False  # a page that fails is a warning, told at the end, and loses no other
nb_execution_timeout = 300
nb_merge_streams = True
nb_render_markdown_format = "myst"

bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

autosummary_generate = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 100

codeautolink_global_preface = "import jax_scorefn as sf"
codeautolink_concat_default = True  # the cells of a page are one program

html_theme = "furo"
html_title = f"jax_scorefn {release}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"  # without one a browser asks for it
html_css_files = ["custom.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

BIBLIOGRAPHY = re.findall(r"^@\w+\{(\w+),", (HERE / "references.bib").read_text(), flags=re.MULTILINE)
LITERAL = re.compile(r"(``.*?``|:\w+:`.*?`)")
FLAGS = re.compile(r"\s*# doctest: .*")  # which Sphinx takes away too late for links in code
KEY = re.compile(r"\b(" + "|".join(BIBLIOGRAPHY) + r")\b")


def to_rst(app, what, name, obj, options, lines):
    """Docstrings are written to be read in a terminal: cite by key, and write |x| for an absolute value."""
    del app, what, name, obj, options
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            lines[i] = FLAGS.sub("", line)
            continue
        parts = LITERAL.split(line)
        for j in range(0, len(parts), 2):  # the odd parts are literals and roles
            parts[j] = KEY.sub(r":cite:t:`\1`", parts[j].replace("|", r"\|"))
        lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", to_rst, priority=400)
