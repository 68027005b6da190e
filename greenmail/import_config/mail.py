"""Where mail lies and how it is called: mail_location, namespaces, mailboxes, quota, POP3's ids, limits."""

import re
from typing import Any

from greenmail import config_types as kind
from greenmail.import_config import namespaces as others
from greenmail.import_config.doveconf import Block, words
from greenmail.import_config.draft import Draft, Weight
from greenmail.import_config.location import CannotCarry, Location, location, path
from greenmail.import_config.users import Home
from greenmail.storage import quota_rules

_PATHS = {"INBOX": "inbox-path", "CONTROL": "control-path", "INDEX": "index-path"}
_INDEX_ELSEWHERE = (
    "GreenMail's own index files go there; Dovecot's are not read from another directory: keywords beyond 26 of a "
    "mailbox would be lost, if you have any"
)
_FORMAT = "GreenMail serves Maildirs alone: convert first, `doveadm -o mail_location=maildir:~/Maildir sync -u USER {}`"
_CONNECTIONS = "GreenMail counts over all addresses of a user, and keeps its own 50; set max-connections-per-user"
_MOST_CONNECTIONS = 1_000_000
_RULE = re.compile(r"quota_rule[0-9]*")


def carry(root: Block, draft: Draft, home: Home) -> None:
    """The namespace with INBOX makes the account; each of the others has a table."""
    namespaces = [block for block in root.of("namespace") if not block.is_on("disabled")]
    own = next((block for block in namespaces if block.is_on("inbox")), Block("namespace", "inbox"))
    general = root.take("mail_location")
    text = own.take("location") or home.location or general
    _location(draft, location(text), text, home)
    _listescape(root, draft)
    layout = location(text).options.get("LAYOUT", "").lower()
    _namespace(draft, own, "/" if layout == "fs" else ".")
    for block in namespaces:
        if block is not own:
            others.carry(draft, block, home, "acl" in _plugins(root))
    _limits(root, draft)
    _pop3(root, draft)
    _quota(root, draft)


def _location(draft: Draft, found: Location, text: str, home: Home) -> None:
    if found.driver != "maildir":
        where = "a mail_location that begins with maildir: is needed; Dovecot looks what is there. Set mail-path"
        advice = _FORMAT.format(text) if found.driver else where
        draft.leave("mail_location", text, advice, Weight.FIRST)
        return
    if not home.is_certain and found.path.startswith(("~", "%h", "%{home}")):
        advice = (
            "mail-path has this home for everybody; whose line in the passwd-file has another one needs userdb_mail="
        )
        draft.leave("mail_home", home.path, advice)
    _path(draft, "mail-path", "mail_location", found.path or "~/Maildir", home)
    utf8, is_nested = False, found.options.get("LAYOUT", "").lower() == "fs"
    for option, value in found.options.items():
        name = f"mail_location/{option}"
        if option in _PATHS and value.upper() != "MEMORY":
            _path(draft, _PATHS[option], name, value, home)
            if option == "INDEX":
                draft.leave(name, value, _INDEX_ELSEWHERE)
        elif option == "UTF-8":
            utf8 = True
        elif option == "LAYOUT":
            _layout(draft, name, value)
        elif option == "DIRNAME" and is_nested:
            draft.settings["mailbox-directory"] = value
        elif option in _OPTIONS:
            draft.leave(name, value, _OPTIONS[option][0], _OPTIONS[option][1])
    draft.settings["mailbox-names"] = "utf8" if utf8 else "mutf7"


_OPTIONS = {
    "INDEX": ("GreenMail's index files are written into the Maildir, unless index-path is set", Weight.NOTHING),
    "DIRNAME": ("with Maildir++, mailboxes in directories of this name are not found: move them up", Weight.FIRST),
    "SUBSCRIPTIONS": ("the file with the subscriptions must be called `subscriptions`: rename it", Weight.FIRST),
    "BROKENCHAR": ("names that cannot be decoded are not listed: `greenmail doctor` names them", Weight.TO_DO),
    "INDEXPVT": ("what is seen is one for all who share a mailbox", Weight.TO_DO),
    "NO-NOSELECT": ("an empty parent is shown until it is created", Weight.NOTHING),
    "VOLATILEDIR": ("locks are in the Maildir, as other programs expect", Weight.NOTHING),
    "LISTINDEX": ("Dovecot's own", Weight.NOTHING),
    "INDEXCACHE": ("Dovecot's own", Weight.NOTHING),
}


def _layout(draft: Draft, name: str, value: str) -> None:
    if value.lower() == "maildir++":
        return
    if value.lower() == "fs":
        draft.settings["layout"] = "fs"
        return
    advice = (
        "GreenMail serves Maildir++ (one directory `.A.B` a folder) and fs (`A/B`): convert first, "
        "`doveadm sync -u USER maildir:~/Maildir.new`"
    )
    draft.leave(name, value, advice, Weight.FIRST)


def _path(draft: Draft, setting: str, name: str, value: str, home: Home) -> None:
    try:
        draft.settings[setting] = path(value, home.path, home.lower_cased)
    except CannotCarry as error:
        advice = f"{error}: give each user a userdb_mail= or home in the passwd-file, then set {setting}"
        draft.leave(name, value, advice, Weight.FIRST)


def _plugins(root: Block) -> set[str]:
    """The plug-ins of all protocols; they have settings of their own, which are looked at one by one."""
    blocks = [root, *root.of("protocol")]
    return {name for block in blocks for name in words(block.take("mail_plugins"))}


def _listescape(root: Block, draft: Draft) -> None:
    escape = "\\"
    for plugin in root.of("plugin"):
        escape = plugin.take("listescape_char", escape) or escape
    if "listescape" in _plugins(root):
        draft.settings["name-escape"] = escape


def _namespace(draft: Draft, block: Block, separator: str) -> None:
    """Separator, prefix, and mailboxes with their uses."""
    draft.settings["separator"] = block.take("separator") or separator
    prefix = block.take("prefix")
    if prefix:
        draft.settings["prefix"] = prefix
    for key in ("inbox", "type", "list", "hidden", "order", "ignore_on_failure", "disabled"):
        block.take(key)
    if not block.is_on("subscriptions", True):
        draft.leave("namespace/subscriptions", "no", "subscriptions are in this namespace's own file", Weight.FIRST)
    uses: dict[str, str] = {}
    created = []
    for mailbox in block.of("mailbox"):
        where = f"mailbox {mailbox.name}"
        name = mailbox.name if mailbox.name.upper() == "INBOX" else prefix + mailbox.name
        given = mailbox.take("special_use").split()
        known = [use for use in kind.SPECIAL_USES if use.lower() in [word.lower() for word in given]]
        wild = "*" in name or "%" in name
        if (given and len(known) != 1) or wild:
            draft.leave(where, " ".join(given), "one name with one special use each is possible: see special-use")
        if known and not wild:
            uses[name] = known[0]
        auto = mailbox.take("auto", "no")
        if auto in ("create", "subscribe") and not wild:
            created.append(name)
        if auto == "create":
            draft.leave(f"{where}/auto", auto, "auto-create subscribes as well as creates", Weight.NOTHING)
    draft.settings["special-use"] = uses  # also if there are none: clients are to see what they saw
    if created:
        draft.settings["auto-create"] = created


def _by_protocol(root: Block, protocol: str, key: str) -> str:
    """What holds for a protocol: its own block comes first."""
    general = root.take(key)
    own = [block.take(key) for block in root.of("protocol", protocol)]
    return next((value for value in reversed(own) if value), general)


def _limits(root: Block, draft: Draft) -> None:
    limits = {protocol: _by_protocol(root, protocol, "mail_max_userip_connections") for protocol in ("imap", "pop3")}
    numbers = [int(value) for value in limits.values() if value.isascii() and value.isdecimal()]
    if numbers:
        most = _MOST_CONNECTIONS if 0 in numbers else min(max(numbers), _MOST_CONNECTIONS)
        if most > 50:
            draft.settings["max-connections-per-user"] = most
        else:
            draft.leave("mail_max_userip_connections", str(most), _CONNECTIONS)
    for key, setting, read in (
        ("imap_idle_notify_interval", "idle-keepalive", kind.seconds),
        ("imap_max_line_length", "max-line", kind.size),
    ):
        value = _by_protocol(root, "imap", key)
        if value:
            _checked(draft, setting, key, value, read)
    if _by_protocol(root, "imap", "imap_literal_minus") == "yes":
        draft.settings["literal-minus"] = True


def _checked(draft: Draft, setting: str, key: str, value: str, read: Any) -> None:
    try:
        found = read(value)
    except ValueError as error:
        draft.leave(key, value, f"set {setting}; allowed: {error}")
        return
    draft.settings[setting] = int(found) if found == int(found) else found


def _pop3(root: Block, draft: Draft) -> None:
    uidl = _by_protocol(root, "pop3", "pop3_uidl_format")
    if uidl:
        try:
            draft.settings["pop3-uidl-format"] = kind.uidl_format(uidl)
        except ValueError:
            advice = "GreenMail cannot make these ids: POP3 clients that leave mail on the server download it again"
            draft.leave("pop3_uidl_format", uidl, advice, Weight.FIRST)
    if _by_protocol(root, "pop3", "pop3_no_flag_updates") == "yes":
        draft.settings["pop3-no-flag-updates"] = True
    flag = _by_protocol(root, "pop3", "pop3_deleted_flag")
    if flag and _by_protocol(root, "pop3", "pop3_delete_type") != "expunge":  # "default" goes by the flag
        draft.settings["pop3-delete"] = "flag"
        try:
            draft.settings["pop3-deleted-flag"] = kind.keyword(flag)
        except ValueError as error:
            draft.leave("pop3_deleted_flag", flag, f"set pop3-deleted-flag to {error}", Weight.FIRST)


def _quota(root: Block, draft: Draft) -> None:
    """The rules of the plug-in quota; another root (quota2) is named with what is left."""
    rules: dict[str, str] = {}
    for plugin in root.of("plugin"):
        keys = [key for key in plugin.values if key == "quota" or _RULE.fullmatch(key)]
        rules |= {key: plugin.take(key) for key in keys}
    if not rules:
        return
    if "quota" not in _plugins(root):
        draft.leave("plugin/quota", rules.get("quota", ""), "mail_plugins has no quota, so it is off", Weight.NOTHING)
        return
    found, problems = quota_rules.from_user(rules, quota_rules.QuotaRules())
    for problem in problems:
        draft.leave("plugin/quota", problem, "set quota-storage, quota-messages")
    if not found.enforced:
        draft.leave("plugin/quota", rules["quota"], "write userdb_quota= into users' lines for a quota that only warns")
    elif found.limits:
        named = {"quota-storage": found.limits.storage, "quota-messages": found.limits.messages}
        draft.settings |= {name: value for name, value in named.items() if value}
    if found.ignored:
        draft.settings["quota-ignore"] = list(found.ignored)
    backend = rules.get("quota", "maildir").partition(":")[0]
    if backend != "maildir":
        advice = "GreenMail counts in maildirsize, as maildrop does; Dovecot's own figures are not changed"
        draft.leave("plugin/quota", rules["quota"], advice)
    for rule in found.mailboxes:
        value = ", ".join(f"{key}={rules[key]}" for key in rules if rules[key].startswith(f"{rule.mask}:"))
        draft.leave("plugin/quota_rule", value, "write it as userdb_quota_rule2= into the users' lines")
