"""What is counted, and the values of labels that are known before anything is: `metrics`."""

PROTOCOLS = ("imap", "pop3")
POOLS = ("work", "password", "database", "text", "owners")
LOGIN_RESULTS = ("ok", "failed", "refused", "unavailable")
LIMITS = (
    "connections", "address", "user", "banned", "waiting", "password-queue", "failures", "bad-commands", "proxy",
)  # fmt: skip

# Label values that are on the page from the start, as 0: rate() sees nothing of a counter that appears as 1.
KNOWN: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    *((attribute, (PROTOCOLS,)) for attribute in ("received", "sent", "open")),
    ("connections", (PROTOCOLS, ("yes", "no"))),
    ("logins", (PROTOCOLS, LOGIN_RESULTS)),
    ("refused", (PROTOCOLS, LIMITS)),
    ("refused", (("pop3",), ("login-delay",))),
    ("handshakes", (PROTOCOLS, ("ok", "timeout", "failed", "closed", "certificate"))),
    *((attribute, (POOLS,)) for attribute in ("queue", "busy", "wait")),
    ("fallbacks", (("limit", "unsupported", "error", "overflow"),)),
    ("rebuilds", (("missing", "damaged", "foreign"),)),
    ("text_searches", (("yes", "no"),)),
    ("restarts", (("worker", "admin", "verifier"),)),
)

# kind, attribute, name, help, labels
TABLE: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("counter", "connections", "greenmail_connections", "Connections accepted.", ("protocol", "tls")),
    ("gauge", "open", "greenmail_open_connections", "Connections that are open now.", ("protocol",)),
    ("counter", "bans", "greenmail_bans", "Addresses banned for wrong passwords.", ()),
    ("counter", "refused", "greenmail_refused", "Connections and logins refused by a limit.", ("protocol", "limit")),
    ("counter", "handshakes", "greenmail_tls_handshakes", "TLS handshakes.", ("protocol", "result")),
    ("counter", "logins", "greenmail_logins", "Attempts to log in.", ("protocol", "result")),
    ("counter", "commands", "greenmail_commands", "Commands answered.", ("protocol", "command", "result")),
    ("latency", "seconds", "greenmail_command_duration_seconds", "Time from a whole command to the end of its answer.",
     ("protocol", "command")),
    ("counter", "received", "greenmail_received_bytes", "Octets received from clients, after decryption.",
     ("protocol",)),
    ("counter", "sent", "greenmail_sent_bytes", "Octets sent to clients, before encryption.", ("protocol",)),
    ("gauge", "idle", "greenmail_idle_sessions", "Sessions that wait for news.", ()),
    ("gauge", "watches", "greenmail_watches", "Paths watched by inotify.", ()),
    ("gauge", "polled", "greenmail_polled_mailboxes", "Mailboxes looked at by time, for lack of events.", ()),
    ("counter", "fallbacks", "greenmail_watch_fallbacks", "Watches that could not be had or were lost.", ("reason",)),
    ("setting", "degraded", "greenmail_degraded_file_systems", "File systems with mail on which news come later.",
     ("what",)),
    ("gauge", "queue", "greenmail_pool_queue", "Tasks that wait for a thread.", ("pool",)),
    ("gauge", "busy", "greenmail_pool_busy", "Threads that are at work.", ("pool",)),
    ("latency", "wait", "greenmail_pool_wait_seconds", "Time a task waited for a thread.", ("pool",)),
    ("setting", "pool_size", "greenmail_worker_pool_size", "Threads for blocking tasks in each worker.", ()),
    ("lag", "lag", "greenmail_hub_lag_seconds", "How late a timer of the event loop ran.", ()),
    ("counter", "rebuilds", "greenmail_index_rebuilds", "Mailbox indexes made anew from the Maildir.", ("reason",)),
    ("counter", "opened", "greenmail_search_opened_messages", "Messages opened for SEARCH BODY and TEXT.", ()),
    ("counter", "text_searches", "greenmail_text_searches", "SEARCH commands with BODY or TEXT.", ("index",)),
    ("gauge", "text_octets", "greenmail_full_text_octets", "Size of the full-text indexes filled by the workers.", ()),
    ("gauge", "text_lag", "greenmail_full_text_lag_messages", "Messages that the mailbox at hand has and its full-text"
     " index has not yet.", ()),
    ("gauge", "text_queue", "greenmail_full_text_queue", "Mailboxes that wait for their full-text index.", ()),
    ("counter", "uidl_changes", "greenmail_pop3_uidl_changes", "POP3 sessions whose messages had other unique ids than"
     " before: clients download such mail again.", ()),
    ("counter", "restarts", "greenmail_process_restarts", "Processes that ended unasked and were started again.",
     ("process",)),
    ("counter", "unregistered", "greenmail_register_timeouts", "Logins that went on without an answer of the register.",
     ()),
    ("setting", "expiry", "greenmail_certificate_expiry_timestamp_seconds", "When the certificate ends, Unix time.",
     ("path",)),
    ("gauge", "memory", "greenmail_process_resident_memory_bytes", "Memory that each process has now.", ("process",)),
    ("setting", "started", "greenmail_start_timestamp_seconds", "When the server was started, Unix time.", ()),
    ("setting", "build", "greenmail_build_info", "Always 1; the version is in the labels.", ("version", "python")),
)  # fmt: skip
