"""A picture beside each example's name: the last figure on its page, which is there when all pages are."""

import re
from pathlib import Path

from sphinx.util import logging

PLACE = re.compile(r'<img data-of="(\w+)"')
FIGURE = re.compile(r'src="(\.\./_images/[^"]+\.(?:png|svg))"')


def fill(app, exception):
    index = Path(app.outdir) / "examples" / "index.html"
    if exception or not index.exists():
        return

    def picture(place):
        page = index.with_name(f"{place[1]}.html")
        figures = FIGURE.findall(page.read_text()) if page.exists() else []
        if not figures:
            logging.getLogger(__name__).warning("no figure on %s, for the index of the examples", page.name)
            return place[0]
        return f'<img src="{figures[-1]}"'

    index.write_text(PLACE.sub(picture, index.read_text()))


def setup(app):
    app.connect("build-finished", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
