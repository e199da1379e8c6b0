"""Settings of Sphinx: `make docs` builds the project's Markdown, wherever it lies, into one site.

The source folder is the project's, so a link between two files means the same here and on GitHub. Nothing is loaded
from a network: formulas become MathML, which browsers draw themselves.
"""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

from posttrain import __version__

project = "posttrain"
version = release = __version__
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "rewards/README.md",
    "data_mixers/README.md",
    "recipes/README.md",
    "posttrain/chat/templates/README.md",
]
exclude_patterns = ["build", "dist", "runs", "tests", ".*"]  # folders that are not even looked into

extensions = ["myst_parser"]
highlight_language = "text"  # of blocks that do not say theirs
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # `page.md#a-heading`, with GitHub's spelling

html_theme = "furo"
html_title = f"posttrain {version}"
html_static_path = ["style"]
html_css_files = ["wide.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_use_index = False
html_show_copyright = False

linkcheck_timeout = 20
linkcheck_anchors = False  # pages that scripts draw have none


def _contents(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's table of contents, made from the lists of links of the index, which GitHub's readers see as they are."""
    if page != root_doc:
        return
    parts = re.split(r"^## (.+)$", source[0], flags=re.MULTILINE)
    for caption, text in zip(parts[1::2], parts[2::2], strict=True):
        links = re.findall(r"^- \[(.*?)\]\((.*?)\.md\)", text, flags=re.MULTILINE)
        pages = [f"{title} <{link}>" for title, link in links]
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```\n"])


def _formula(translator: Any, node: nodes.Element) -> None:
    is_block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=is_block)
    translator.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
    app.connect("source-read", _contents)
    return {"parallel_read_safe": True}
