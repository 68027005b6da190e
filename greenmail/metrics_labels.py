"""Values of labels that are known before anything is counted: `metrics`."""

PROTOCOLS = ("imap", "pop3")
POOLS = ("work", "password", "database", "text", "owners")
LOGIN_RESULTS = ("ok", "failed", "refused", "unavailable")

# Label values that are on the page from the start, as 0: rate() sees nothing of a counter that appears as 1.
KNOWN: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    *((attribute, (PROTOCOLS,)) for attribute in ("received", "sent", "open")),
    ("connections", (PROTOCOLS, ("yes", "no"))),
    ("logins", (PROTOCOLS, LOGIN_RESULTS)),
    ("refused", (PROTOCOLS, ("connections", "user", "failures", "bad-commands", "password-queue"))),
    ("refused", (PROTOCOLS, ("proxy", "banned", "address", "waiting"))),
    ("refused", (("pop3",), ("login-delay",))),
    ("handshakes", (PROTOCOLS, ("ok", "timeout", "failed", "closed", "certificate"))),
    *((attribute, (POOLS,)) for attribute in ("queue", "busy", "wait")),
    ("fallbacks", (("limit", "unsupported", "error", "overflow"),)),
    ("rebuilds", (("missing", "damaged", "foreign"),)),
    ("text_searches", (("yes", "no"),)),
    ("restarts", (("worker", "admin", "verifier"),)),
)
