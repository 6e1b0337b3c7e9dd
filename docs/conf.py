"""Settings of the site that `make docs` builds.

The API reference comes from the docstrings, so sphinx imports both packages. Stand-ins for torch do not work: a class
that inherits from one loses its docstring, and `Tensor | None` cannot be evaluated. So sphinx has an environment of its
own, `.venv-docs`, and a `.pth` file in it adds the packages of `.venv`: torch is installed once, and sphinx's packages
do not mix with those that the project is tested with. Building needs no network.
"""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "ConvNorm-GAN"
author = "the authors of ConvNorm-GAN"
project_copyright = author
exclude_patterns = ["_build"]
default_role = "code"  # the docstrings mark code with single backticks

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_block"]
myst_heading_anchors = 3
autodoc_inherit_docstrings = False  # a method that overrides another without saying more is not listed again
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else attributes of dataclasses are described twice
python_display_short_literal_types = True
add_module_names = False

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
pygments_style = "default"
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

# Pages of the repository that the site includes, and where it shows them
PAGES = {
    "README.md": "/index.md",
    "convnorm/README.md": "/convnorm.md",
    "benchmarks/convnorm.md": "/benchmarks/convnorm.md",
    "benchmarks/gpu.md": "/benchmarks/gpu.md",
    "benchmarks/faults.md": "/benchmarks/faults.md",
    "benchmarks/training.md": "/benchmarks/training.md",
    "benchmarks/metrics.txt": "/benchmarks/metrics.md",
    "CONTRIBUTING.md": "/project/contributing.md",
    "CHANGELOG.md": "/project/changelog.md",
}
# What reStructuredText would take for markup; *emphasis* of words stays
SIGN = re.compile(r"\*(?!\w[\w -]*\*)(?<!\w\*)|[|]|_(?!\w)")
LINK = re.compile(r"(\]\()([^)#:]+)(\)|#)")


def link_pages(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    """Point the links of an included file to the pages of the site."""

    def on_site(link: re.Match[str]) -> str:
        target = (Path(app.srcdir, path).resolve().parent / link[2]).resolve()
        if not target.is_relative_to(ROOT):
            return link[0]
        name = target.relative_to(ROOT).as_posix()
        page = PAGES.get(name, "/" + name.removeprefix("docs/") if name.startswith("docs/") else link[2])
        return link[1] + page + link[3]

    content[0] = LINK.sub(on_site, content[0])


def escape(app: Sphinx, kind: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Let the signs of mathematics and Python in a docstring mean themselves, as in `(N, *sizes)`, |x| or `Conv`s."""
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = (SIGN.sub(r"\\\g<0>", part) for part in parts[::2])
        parts[2::2] = ("\\ " + part if part[:1].isalnum() else part for part in parts[2::2])
        lines[number] = "`".join(parts)


def setup(app: Sphinx) -> None:
    """Have included files pass through `link_pages`, and docstrings through `escape` before napoleon reads them."""
    app.connect("include-read", link_pages)
    app.connect("autodoc-process-docstring", escape, priority=400)
