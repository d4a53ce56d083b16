"""Sphinx extension: defaults such as ``<factory>`` become ``...`` in signatures.

Sphinx cannot parse a signature with such a default, and then prints every type in it by
its full name.
"""

import re


def shorten(app, what, name, obj, options, signature, return_annotation):
    """Returns the signature and the return type that autodoc shows."""
    return re.sub(r"<[^<>]+>", "...", signature or ""), return_annotation


def setup(app):
    """Connects the extension."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
