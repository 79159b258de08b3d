"""Names in prose link to the API: a literal that names one documented object, and no other, becomes a reference to it.

``sf.`` stands before any public name. A bare name is a link where one function, class or constant alone has it: ``gae`` is, and
``sample``, which is a function and a method, is not. Names that ``jax.random`` has too, and those of types and arguments, mean
something else in prose.
"""

import re

from docutils import nodes
from sphinx.addnodes import desc_signature, pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

ROOT = "jax_scorefn"
NAME = re.compile(r"(?P<root>(?:sf|jax_scorefn)\.)?(?P<name>[A-Za-z]\w*(?:\.\w+)*)(?:\(.*\))?")
ELSEWHERE = (f"{ROOT}.random.", f"{ROOT}.typing.")
ARGUMENTS = ("effective_sample_size", "expectation", "family")  # and fields
MEMBERS = ("attribute", "method", "property", "module")
NOT_PROSE = (nodes.reference, nodes.title, pending_xref, desc_signature)


def by_last_name(objects):
    """Last name -> dotted names of what is documented."""
    found = {}
    for dotted in objects:
        found.setdefault(dotted.rpartition(".")[2], []).append(dotted)
    return found


def named(text, objects, last_names):
    """The dotted name that a literal means, or None."""
    match = NAME.fullmatch(text)
    if not match:
        return None
    name, dotted = match["name"], f"{ROOT}.{match['name']}"
    if match["root"] and dotted in objects:
        return dotted
    found = last_names.get(name.rpartition(".")[2] if match["root"] else name, [])
    if len(found) != 1 or objects[found[0]].objtype in MEMBERS:
        return None
    return found[0] if match["root"] or not (name in ARGUMENTS or found[0].startswith(ELSEWHERE)) else None


class Link(SphinxPostTransform):
    """Before references are resolved, when every page has been read."""

    default_priority = 9

    def run(self, **options):
        objects = {name: entry for name, entry in self.env.domains["py"].objects.items() if name.startswith(ROOT)}
        last_names = by_last_name(objects)
        for literal in list(self.document.findall(nodes.literal)):
            name = named(literal.astext(), objects, last_names)
            if name and not any(isinstance(node, NOT_PROSE) for node in ancestors(literal)):
                there = objects[name]
                link = make_refnode(
                    self.app.builder, self.env.docname, there.docname, there.node_id, literal.deepcopy(), name
                )
                literal.replace_self(link)


def ancestors(node):
    while node := node.parent:
        yield node


def setup(app):
    app.add_post_transform(Link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
