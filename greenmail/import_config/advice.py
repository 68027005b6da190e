"""What is to be said of the settings that nobody carried over: the first line that fits."""

import re

from greenmail.import_config.doveconf import Block, rest
from greenmail.import_config.draft import STAYS, Draft, Weight

_NONE = "GreenMail has nothing of the kind"
_OWN = "Dovecot's own; nothing to do"
_SIEVE = "GreenMail has no Sieve, at delivery or in IMAP: Dovecot's LMTP goes on with it (switch A)"
_FILTER = "settings for one protocol, address or name are not possible here: set it for all, or do without"
_PROCESSES = "GreenMail's processes are set by `processes`, its connections by max-connections (20000)"
_MOZILLA = "Mozilla's choice is built in; tls-ciphers changes it"
_LOG = "GreenMail logs to standard error, or where log-path says; log-level: debug or trace for more"

_TABLE: tuple[tuple[str, str, Weight], ...] = (
    # What belongs to the Dovecot that stays
    (r"(service|protocol) (lmtp|lda|managesieve.*|sieve|submission.*|doveadm|auth.*|dict.*|quota-.*)(/|\Z)", STAYS,
     Weight.NOTHING),
    (r"(lmtp|lda|submission|deliver|doveadm|sendmail|postmaster|rejection|managesieve|replicat|dsync)_", STAYS,
     Weight.NOTHING),
    (r"(hostname|recipient_delimiter)\Z", STAYS, Weight.NOTHING),
    (r"plugin/sieve", _SIEVE, Weight.TO_DO),
    (r"(protocol imap/)?imapsieve", _SIEVE, Weight.TO_DO),
    (r"plugin/(imapsieve|sieve).*", _SIEVE, Weight.TO_DO),
    # What would make mail look another way
    (r"plugin/(mail_crypt|fscrypt)", "encrypted mail cannot be read: decrypt it first", Weight.FIRST),
    (r"plugin/zlib_save", "try one compressed message with a client first, and stop compressing", Weight.FIRST),
    (r"plugin/acl_", "dovecot-acl files are obeyed without it, see docs/acl.md", Weight.NOTHING),
    (r"plugin/acl", "dovecot-acl files are obeyed; a global one (vfile:/PATH) is not: give its rights to the mailboxes",
     Weight.TO_DO),
    (r"(protocol pop3/)?pop3_reuse_xuidl", "ids from X-UIDL: POP3 clients download such mail again", Weight.FIRST),
    (r"(protocol pop3/)?pop3_uidl_duplicates", "only for ids that are not unique by themselves", Weight.TO_DO),
    (r"(protocol pop3/)?pop3_save_uidl", "ids that were saved are read from dovecot-uidlist", Weight.NOTHING),
    (r"(protocol pop3/)?pop3_", _OWN, Weight.NOTHING),
    (r"maildir_very_dirty_syncs", "if Dovecot goes on writing here (LMTP), set it to no", Weight.TO_DO),
    (r"maildir_|mbox_|mdbox_|imapc_|pop3c_", _OWN, Weight.NOTHING),
    (r"mail_nfs_|mmap_disable|mail_fsync|lock_method|dotlock_", "serve each Maildir from one machine", Weight.NOTHING),
    (r"mail_(privileged_group|access_groups)",
     "workers have one group: set `group` to one that may write the mail, INBOX's directory too", Weight.TO_DO),
    (r"mail_attachment_|mail_cache_|mail_never_cache|mail_always_cache|mailbox_list_index|mail_sort|mail_vsize|mail_prefetch",
     _OWN, Weight.NOTHING),
    (r".*/autoexpunge", "mail is not removed by age: run `doveadm expunge` from cron while Dovecot is installed",
     Weight.TO_DO),
    (r".*/(comment|driver|autoexpunge_max_mails)\Z", _OWN, Weight.NOTHING),
    (r"plugin/quota_max_mail_size", "max-request-size limits what APPEND takes", Weight.TO_DO),
    (r"plugin/quota", STAYS, Weight.TO_DO),
    (r"plugin/(trash|expire|lazy_expunge|mail_log|notify|last_login|push_|welcome|virtual|mailbox_alias)", _NONE,
     Weight.TO_DO),
    (r"plugin/fts", "TEXT and BODY are searched in the messages themselves, without an index", Weight.NOTHING),
    # TLS
    (r"local_name .*/ssl_(cert|key)\Z", "set cert-path and key-path, and write this pair into certificates",
     Weight.FIRST),
    (r"ssl_(dh|prefer_server_ciphers|options|crypto_device|client_|curve_list)", _MOZILLA, Weight.NOTHING),
    (r"ssl_cipher", _MOZILLA, Weight.NOTHING),
    (r"ssl_key_password", "GreenMail's keys have no password: `openssl pkey -in KEY -out NEW-KEY`", Weight.FIRST),
    (r"ssl_alt_", "one certificate, of one kind, is used", Weight.NOTHING),
    (r"(auth_)?ssl_(ca|verify|require|username|cert_username)", "client certificates are not asked for", Weight.TO_DO),
    (r"verbose_ssl|ssl_", _OWN, Weight.NOTHING),
    # Logins
    (r"auth_(cache|worker|debug|verbose|stats|proxy|failure_delay|socket)", _OWN, Weight.NOTHING),
    (r"auth_policy", "failed logins are slowed down by GreenMail itself; a policy server is not asked", Weight.TO_DO),
    (r"auth_(krb5|gssapi|winbind|use_winbind)", "GreenMail has PLAIN and LOGIN, over TLS", Weight.TO_DO),
    (r"(auth_)?master_user|auth_master", "GreenMail has no master users", Weight.TO_DO),
    (r"(passdb|userdb) .*|(passdb|userdb)/", "auth says how each is asked (docs/user-databases.md)", Weight.TO_DO),
    (r"(first|last)_valid_[ug]id|valid_chroot", "workers run as the one user that owns the mail", Weight.NOTHING),
    (r"mail_chroot", "workers are not confined to the mail, but by the unit in contrib/systemd", Weight.TO_DO),
    # Processes and logs
    (r"service stats/inet_listener", "figures for Prometheus are at metrics-bind", Weight.TO_DO),
    (r"service .*|default_|client_limit|process_", _PROCESSES, Weight.NOTHING),
    (r"log_|info_log|debug_log|syslog|mail_debug|mail_log|imap_logout_format|login_log|.*rawlog", _LOG, Weight.NOTHING),
    (r"imap_(capability|id_)", "capabilities are those that work; nothing to do", Weight.NOTHING),
    (r"imap_metadata|mail_attribute", "metadata of Dovecot's dictionary is not served", Weight.TO_DO),
    (r"imap_urlauth", "url-hosts and submit-users offer URLAUTH; URLs of before are worth nothing", Weight.TO_DO),
    (r"imap_hibernate|imap_fetch_failure|imap_client_workarounds", _OWN, Weight.NOTHING),
    (r"haproxy_", "GreenMail does not speak the PROXY protocol", Weight.TO_DO),
    (r"login_(greeting|proxy|source|plugin|access)", _OWN, Weight.NOTHING),
    (r"(base_dir|state_dir|instance_name|import_environment|shutdown_clients|verbose_proctitle|version_ignore|"
     r"config_cache_size|libexec_dir|mail_plugin_dir|mail_temp_dir|stats_|old_stats_|director_|mail_max_lock_timeout)",
     _OWN, Weight.NOTHING),
    (r"namespace|mailbox", "this has no counterpart", Weight.TO_DO),
    (r"(protocol|remote|local|local_name) ", _FILTER, Weight.TO_DO),
)  # fmt: skip
_COMPILED = [(re.compile(pattern), advice, weight) for pattern, advice, weight in _TABLE]
_UNKNOWN = "this has no counterpart; if you rely on it, look through conf/imap.yaml before you switch"


def name_rest(root: Block, draft: Draft) -> None:
    """Name everything that nobody took."""
    for setting, value in rest(root):
        advice, weight = next(
            ((advice, weight) for pattern, advice, weight in _COMPILED if pattern.match(setting)),
            (_UNKNOWN, Weight.TO_DO),
        )
        draft.leave(setting, value, advice, weight)
