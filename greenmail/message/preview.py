"""The beginning of a message's text, for PREVIEW: RFC 8970 3.3.

The first part that is text and is shown counts; HTML loses its markup. What was quoted and the signature do not
count, if there is anything else. Only the beginning of the part is read.
"""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser

from greenmail.message.search import Read, leaf_text, walk
from greenmail.message.structure import Part

LONGEST = 200  # characters; RFC 8970 3.3: at most 256
_LOOKED_AT = 32768  # characters of a part
_TAGS = 2000  # of a part; what is nested takes the square of their number
_CLONES = 30_000  # of elements that a browser begins anew in each paragraph because nobody ended them
_HIDDEN = ["head", "script", "style", "template", "title", "noscript"]
# Every tag; as a group the elements that the HTML standard (13.2.4.3) calls formatting.
_TAG = re.compile(r"<((?:a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>]))?", re.IGNORECASE)
_APART = "br, p, div, td, th, li, h1, h2, h3, h4, h5, h6, blockquote, table"
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\x00-\x08\x0e-\x1f\x7f]")


def preview(read: Read, root: Part) -> str:
    """At most LONGEST characters in one line; empty if the message has no text to be shown."""
    for part in walk(root):
        if not _is_shown(part):
            continue
        text = _beginning(leaf_text(read, part))
        words = without_markup(text) if part.subtype.lower() == b"html" else _without_quotes(text)
        line = " ".join(_INVISIBLE.sub("", words).split())
        if line:
            return line[:LONGEST].rstrip()
    return ""


def _is_shown(part: Part) -> bool:
    is_text = part.type.lower() == b"text" and part.subtype.lower() in (b"plain", b"html", b"enriched")
    return is_text and (part.disposition or b"").lower() != b"attachment"


def _beginning(blocks: Iterator[str]) -> str:
    found = ""
    for block in blocks:
        found += block
        if len(found) >= _LOOKED_AT:
            break
    return found[:_LOOKED_AT]


def _without_quotes(text: str) -> str:
    """The writer's own lines; all of them if there are none."""
    own = []
    for line in text.splitlines():
        if line.rstrip("\r") == "-- ":  # RFC 3676 4.3
            break
        if not line.startswith(">"):
            own.append(line)
    words = "\n".join(own)
    return words if words.strip() else text


def without_markup(text: str) -> str:
    """What a browser would show, with white space where it would begin a new line."""
    tree = LexborHTMLParser(_bounded(text))
    tree.strip_tags(_HIDDEN, recursive=True)
    body = tree.body
    if body is None:
        return ""
    for node in body.css(_APART):
        node.insert_before(" ")
        node.insert_after(" ")
    return body.text(separator="")


def _bounded(text: str) -> str:
    """The beginning, as far as it is harmless: 30 KB of `<b id=1><p><b id=2><p>...` become 3 million elements."""
    formatting = 0
    for tags, found in enumerate(_TAG.finditer(text)):
        formatting += found[1] is not None
        if tags > _TAGS or tags * formatting > _CLONES:
            return text[: found.start()]
    return text
