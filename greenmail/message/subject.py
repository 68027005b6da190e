"""The base subject of RFC 5256 2.1: what is left of a subject without "Re:", "[list]", "(fwd)" and their kind.

Each step moves the beginning or the end of what is left, and none of them looks at the same characters twice: subjects
of any length and malice take time in proportion to their length.
"""

import re

_SPACES = re.compile(r"[ \t\r\n]+")
_BLOBS = r"(?:\[[^\[\]]*+\][ \t]*+)"  # subj-blob
# subj-leader, without its alternative WSP: blobs, "re", "fw" or "fwd", perhaps a blob, a colon.
_LEADER = re.compile(rf"(?>{_BLOBS}*)(?:re|fwd?)[ \t]*+(?>{_BLOBS}?):", re.IGNORECASE | re.ASCII)
_RUN = re.compile(rf"(?>{_BLOBS}+)")
_BLOB = re.compile(_BLOBS)
_FORWARD = "[fwd:"  # subj-fwd-hdr; subj-fwd-trl is "]"
_TRAILER = "(fwd)"


def base_subject(text: str) -> tuple[str, bool]:
    """The base subject of a subject that is decoded, and whether that is one of a reply or forward.

    The base subject is not folded to one case yet: see `collation`.
    """
    text = _SPACES.sub(" ", text)  # step 1
    start, end, is_reply = 0, len(text), False
    while True:
        end, cut = _without_trailers(text, start, end)  # step 2
        start, led = _without_leaders(text, start, end)  # steps 3 to 5
        is_reply = is_reply or cut or led
        is_forward = end - start > len(_FORWARD) and text[start : start + len(_FORWARD)].lower() == _FORWARD
        if not (is_forward and text[end - 1] == "]"):
            return text[start:end], is_reply
        start, end, is_reply = start + len(_FORWARD), end - 1, True  # step 6


def _without_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    """The end without subj-trailers, and whether one of them was "(fwd)"."""
    cut = False
    while end > start:
        if text[end - 1] == " ":
            end -= 1
        elif end - start >= len(_TRAILER) and text[end - len(_TRAILER) : end].lower() == _TRAILER:
            end -= len(_TRAILER)
            cut = True
        else:
            break
    return end, cut


def _without_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    """The beginning without subj-leaders and blobs, and whether there was a subj-refwd. What is but a blob stays."""
    led = False
    while start < end:
        if text[start] == " ":
            start += 1
            continue
        leader = _LEADER.match(text, start, end)
        if leader is not None:
            start, led = leader.end(), True
            continue
        # Nothing that leads stands behind this run of blobs, so all of them go, but for the one that is all there is.
        run = _RUN.match(text, start, end)
        if run is None:
            break
        if run.end() == end:
            for blob in _BLOB.finditer(text, start, end):
                start = blob.start()
            break
        start = run.end()
    return start, led
