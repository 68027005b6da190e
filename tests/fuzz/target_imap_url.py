"""An IMAP URL: taken apart, or BadSyntax. What `rump` and token are is exactly what stood there."""

from greenmail.errors import BadSyntax
from greenmail.imap.imap_url import imap_url, shown


def check(data: bytes) -> None:
    text = shown(data)
    assert text.isprintable()
    try:
        url = imap_url(data)
    except BadSyntax as bad:
        assert bad.text.isprintable()
        return
    assert "\0" not in url.mailbox and "\r" not in url.mailbox and "\n" not in url.mailbox
    assert 0 <= url.uid < 1 << 32
    assert url.uidvalidity is None or 0 < url.uidvalidity < 1 << 32
    signed = url.authorization
    if signed is not None and signed.token:
        assert f"{signed.rump}:{signed.mechanism}:{signed.token}".lower() == data.decode("ascii").lower()
