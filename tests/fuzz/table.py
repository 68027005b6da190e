"""What is fuzzed: for each target the modules whose coverage counts. The target is `check` in `target_NAME.py`."""

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
GROWN = Path(__file__).parent.parent.parent / ".fuzz"  # what runs have added, beside their logs and findings

TARGETS: dict[str, tuple[str, ...]] = {
    "framing": ("greenmail.imap.framing", "greenmail.pop3.framing"),
    "grammar": (
        "greenmail.imap.cursor",
        "greenmail.imap.grammar",
        "greenmail.imap.sequence_set",
        "greenmail.imap.fetch_att",
        "greenmail.imap.search_key",
        "greenmail.imap.section",
        "greenmail.imap.date_time",
        "greenmail.imap.serialize",
    ),
    "session": ("greenmail.imap.execute",),
    "stores": (
        "greenmail.imap.digest",
        "greenmail.imap.commands.fetch",
        "greenmail.imap.search_run",
        "greenmail.imap.parts",
        "greenmail.imap.header_column",
    ),
    "mime": (
        "greenmail.message.structure",
        "greenmail.message.headers",
        "greenmail.message.envelope",
        "greenmail.message.decode",
        "greenmail.message.subject",
        "greenmail.message.sort_keys",
        "greenmail.message.preview",
        "greenmail.imap.render",
    ),
    "content": (
        "greenmail.message.content",
        "greenmail.message.compressed",
        "greenmail.message.unpacked",
        "greenmail.message.lz4",
        "greenmail.message.measured",
    ),
    "uidlist": ("greenmail.storage.uidlist_format", "greenmail.storage.uidlist_records"),
    "journal": ("greenmail.storage.journal", "greenmail.storage.snapshot"),
    "passwd": ("greenmail.auth.passwd_file",),
    "config": ("greenmail.config_file",),
    "proxy": ("greenmail.net.proxy",),
    "auth_client": ("greenmail.auth.postfix_auth",),
    "sasl": (
        "greenmail.auth.sasl",
        "greenmail.auth.scram",
        "greenmail.auth.vouched",
        "greenmail.auth.digests",
        "greenmail.auth.saslprep",
    ),
    "imap_url": ("greenmail.imap.imap_url",),
    "acl": ("greenmail.storage.acl", "greenmail.storage.courier_acl"),
    "quota": ("greenmail.storage.quota_rules",),
    "small_files": (
        "greenmail.storage.mutf7",
        "greenmail.storage.metadata",
        "greenmail.storage.seen_file",
        "greenmail.storage.dovecot_index",
        "greenmail.storage.maildir_name",
    ),
}
