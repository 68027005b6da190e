"""Who may log in, and whose mail is where: passdb, userdb, mail_uid, auth_*."""

import re
from dataclasses import dataclass
from typing import Any

from greenmail.config import Config
from greenmail.import_config import databases
from greenmail.import_config.doveconf import Block, arguments, words
from greenmail.import_config.draft import Draft, Weight
from greenmail.import_config.location import CannotCarry, path

_MAKE_USERS = "GreenMail cannot read this database's own file: "
_PAGE = "(docs/user-databases.md)"
_DRIVERS = {
    "passwd": "take `auth: [{type: pam}, {type: system}]` " + _PAGE,
    "shadow": "take `auth: [{type: system, password: shadow}]`, or better pam " + _PAGE,
    "sql": "write a table of `type: sql` into auth, with the password_query and :user for %u in it " + _PAGE,
    "ldap": "write a table of `type: ldap` into auth, with hosts, base, dn and filter from it " + _PAGE,
    "static": "one password for everybody is not possible; write one line for each user into a passwd-file",
    "lua": "write a web service, and a table of `type: http` into auth " + _PAGE,
}
_OTHERWISE = "write a passwd-file, with `greenmail user add` or from what this database has"
_ONE_OWNER = (
    "all mail must belong to one user, whom GreenMail's workers run as: `chown -R` it at the switch and set user, group"
)


@dataclass(frozen=True, slots=True)
class Home:
    """Where users' homes are, in our variables."""

    path: str = ""  # empty: as the passwd-file says
    is_certain: bool = True  # False: the passwd-file may have another one for some users
    location: str = ""  # a mail_location that comes before the general one
    lower_cased: bool = True  # names arrive in lower case


def carry(root: Block, draft: Draft) -> Home:
    """Databases, names, owners of the mail, and what may go over a line without TLS."""
    lower_cased = _names(root, draft)
    _clear_text(root, draft)
    _mechanisms(root, draft)
    passwd_file = _passdbs(root, draft)
    _separator(root, draft)
    return _userdbs(root, draft, passwd_file, lower_cased)


_MECHANISMS = ("plain", "login", "scram-sha-1", "scram-sha-256", "scram-sha-1-plus", "scram-sha-256-plus")
_BY_SETTINGS = {
    "external": "it is offered once clients are asked for certificates: set tls-client-certificate and client-ca-path"
    " (docs/client-certificates.md)",
    "oauthbearer": "it is offered once it is set whose tokens are taken: oauth-issuer, and what goes with it"
    " (docs/oauth.md)",
}
_BY_SETTINGS["xoauth2"] = _BY_SETTINGS["oauthbearer"]
_NO_SUCH = "GreenMail has no such mechanism: clients that are set to it must be set to PLAIN or SCRAM, over TLS"
_GUESTS = "whoever comes as this user may read here, and change nothing, whatever he could with Dovecot (docs/users.md)"


def _mechanisms(root: Block, draft: Draft) -> None:
    """Those that everybody has need no word; ANONYMOUS is on by the user that it is for."""
    for name in words(root.take("auth_mechanisms", "plain")):
        lower = name.lower()
        if lower == "anonymous":
            user = root.take("auth_anonymous_username") or "anonymous"
            draft.settings["anonymous-user"] = user
            draft.leave("auth_mechanisms", f"{name}, as {user}", _GUESTS)
        elif lower == "cram-md5":
            draft.settings["sasl-mechanisms"] = [*Config.model_fields["sasl_mechanisms"].default, "CRAM-MD5"]
        elif lower not in _MECHANISMS:
            draft.leave("auth_mechanisms", name, _BY_SETTINGS.get(lower, _NO_SUCH))
    root.take("auth_anonymous_username")


def _names(root: Block, draft: Draft) -> bool:
    """Whether names arrive in lower case."""
    format_ = root.take("auth_username_format", "%Lu") or "%u"
    for long, short in (("%{user}", "%u"), ("%{username}", "%n"), ("%{domain}", "%d")):
        format_ = format_.replace(long, short)
    if format_ != "%Lu":
        draft.settings["username-format"] = format_
    realm = root.take("auth_default_realm")
    if realm:
        draft.settings["default-domain"] = realm
    return "L" in format_ and not re.search(r"%[und]", format_)


def _clear_text(root: Block, draft: Draft) -> None:
    """Dovecot also trusts whoever connects from the address that he connects to: this machine."""
    plain = not root.is_on("disable_plaintext_auth", True)
    networks = words(root.take("login_trusted_networks"))
    if plain and root.values.get("ssl") != "required":
        draft.settings["allow-plain-text"] = True
    else:
        draft.settings["secure-networks"] = ["127.0.0.0/8", "::1", *networks]


def _passdbs(root: Block, draft: Draft) -> str:
    """The path of the first passwd-file that gives passwords; further databases go into `auth`."""
    found = ""
    more: list[dict[str, Any]] = []
    for block in root.of("passdb"):
        driver = block.take("driver")
        args = block.take("args")
        where = f"passdb {driver}"
        if block.is_on("deny"):
            _other_file(draft, "deny-file", where, args, driver)
        elif block.is_on("master"):
            _other_file(draft, "master-passwd-file", where, args, driver)
        elif driver == "passwd-file" and not found:
            found = _passwd_file(draft, where, args)
        elif driver == "passwd-file":
            more += _further_file(draft, where, args)
        elif driver == "pam":
            more.append(_pam(args))
        elif driver in ("sql", "ldap") and (made := databases.table(draft, driver, where, args)) is not None:
            more.append(made)
        else:
            text = _MAKE_USERS + _DRIVERS.get(driver, _OTHERWISE)
            draft.leave(where, args, text, Weight.TO_DO if found else Weight.FIRST)
    if more:
        # PAM does not say whether it knows a user, so what does comes first.
        draft.settings["auth"] = sorted(more, key=lambda table: table["type"] == "pam")
    return found


def _pam(args: str) -> dict[str, str]:
    """A service of PAM; `*` and `%s` stand for the protocol, and without any it is "dovecot"."""
    _options, service = arguments(args)
    return {"type": "pam"} if service in ("*", "%s") else {"type": "pam", "service": service or "dovecot"}


def _further_file(draft: Draft, where: str, args: str) -> list[dict[str, str]]:
    options, file = arguments(args)
    if options.keys() - {"scheme"} or options.get("scheme", "CRYPT").upper() != "CRYPT":
        draft.leave(where, args, "append this file's lines to the first passwd-file, with their {SCHEME}")
        return []
    try:
        return [{"type": "passwd-file", "path": path(file, "", True)}]
    except CannotCarry as error:
        draft.leave(where, file, f"{error}: join the files to one, and name it in auth")
        return []


def _other_file(draft: Draft, key: str, where: str, args: str, driver: str) -> None:
    """Of master users, or of users who are denied: there is one of each."""
    options, file = arguments(args)
    if driver != "passwd-file" or key in draft.settings or options.keys() - {"scheme"} or "%" in file:
        draft.leave(where, args, f"GreenMail takes one file, whose path has no variables: write one, and set {key}")
        return
    if key == "master-passwd-file" and options.get("scheme", "CRYPT").upper() != "CRYPT":
        text = "a password without {SCHEME} is taken for CRYPT: write this scheme before each that has none"
        draft.leave(f"{where}/scheme", options["scheme"], text)
    draft.settings[key] = file


def _separator(root: Block, draft: Draft) -> None:
    """Of `user*master`; Dovecot has none unless it is set."""
    separator = root.take("auth_master_user_separator")
    if "master-passwd-file" not in draft.settings:
        return
    if len(separator) > 1 or separator.isalnum() or separator in tuple("@.-_ /"):
        draft.leave("auth_master_user_separator", separator, "set master-separator to another character, such as *")
    else:
        draft.settings["master-separator"] = separator


def _passwd_file(draft: Draft, where: str, args: str) -> str:
    options, file = arguments(args)
    if options.get("scheme", "CRYPT").upper() != "CRYPT":
        text = "a password without {SCHEME} is taken for CRYPT: write this scheme before each that has none"
        draft.leave(f"{where}/scheme", options["scheme"], text, Weight.FIRST)
    if options.get("username_format", "%u") not in ("%u", "%Lu", "%{user}"):
        text = "users are looked up by their whole names: write them so in the passwd-file"
        draft.leave(f"{where}/username_format", options["username_format"], text, Weight.FIRST)
    try:
        draft.settings["passwd-file"] = path(file, "", True)
    except CannotCarry as error:
        draft.leave(where, file, f"{error}: join the files to one, and set passwd-file", Weight.FIRST)
        return ""
    return file


def _userdbs(root: Block, draft: Draft, passwd_file: str, lower_cased: bool) -> Home:
    uid, gid = root.take("mail_uid"), root.take("mail_gid")
    home, certain, location = root.take("mail_home"), True, ""
    general = home
    is_first = True
    for block in root.of("userdb"):
        driver = block.take("driver")
        args = block.take("args")
        if not is_first and driver != "prefetch":
            draft.leave(f"userdb {driver}", args, "the first userdb alone is carried over: compare `doveadm user '*'`")
            continue
        fields = _fields(block.take("default_fields"))
        options, file = arguments(args) if driver in ("static", "passwd-file") else ({}, args)
        fields |= options if driver == "static" else {}
        if driver == "passwd-file" and file != passwd_file:
            text = "passwords and homes must be in one passwd-file: write uid, gid and home into that of the passdb"
            draft.leave(f"userdb {driver}", args, text, Weight.FIRST)
        elif driver == "passwd":
            draft.settings["auth"] = [*draft.settings.get("auth", []), _system(root)]
            draft.leave(f"userdb {driver}", args, _ONE_OWNER, Weight.FIRST)
        elif _is_carried(draft, root, driver, args):
            draft.leave(f"userdb {driver}", args, _ONE_OWNER)
        elif driver not in ("static", "passwd-file", "prefetch"):
            text = _MAKE_USERS + _DRIVERS.get(driver, _OTHERWISE)
            draft.leave(f"userdb {driver}", args, text, Weight.FIRST)
            draft.leave(f"userdb {driver}", args, _ONE_OWNER, Weight.FIRST)
        override = _fields(block.take("override_fields"))
        home = override.get("home") or fields.get("home") or home
        certain = not home or driver == "static" or "home" in override
        fields |= override
        uid, gid = fields.pop("uid", uid), fields.pop("gid", gid)
        location = fields.pop("mail", location)
        for key in fields.keys() - {"home", "allow_all_users", "username_format"}:
            draft.leave(f"userdb {driver}/{key}", fields[key], f"write userdb_{key}= into the users' lines")
        is_first = driver == "prefetch" and is_first
    _owner(draft, uid, gid)
    return _home(draft, home or general, certain, location, lower_cased)


def _is_carried(draft: Draft, root: Block, driver: str, args: str) -> bool:
    """Whether the passdb has the same file, and is a table of `auth` now, which says where the mail is, too."""
    same = any(block.values.get("driver") == driver and block.values.get("args") == args for block in root.of("passdb"))
    return same and any(one["type"] == driver for one in draft.settings.get("auth", []))


def _system(root: Block) -> dict[str, Any]:
    """Users of the machine, between first_valid_uid and last_valid_uid, which are 500 and none."""
    limits = {"min-uid": root.take("first_valid_uid"), "max-uid": root.take("last_valid_uid")}
    numbers = {key: int(value) for key, value in limits.items() if value.isdecimal() and int(value)}
    return {"type": "system", "min-uid": 500, "max-uid": 0xFFFFFFFE} | numbers


def _fields(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (word.partition("=") for word in text.split())}


def _owner(draft: Draft, uid: str, gid: str) -> None:
    if uid:
        draft.settings["user"] = uid
    else:
        text = "it is not set: set user, or the workers run as whoever starts GreenMail; " + _ONE_OWNER
        draft.leave("mail_uid", "", text)
    if gid:
        draft.settings["group"] = gid


def _home(draft: Draft, home: str, certain: bool, location: str, lower_cased: bool) -> Home:
    if not home:
        return Home("", True, location, lower_cased)
    try:
        return Home(path(home, "", lower_cased), certain, location, lower_cased)
    except CannotCarry as error:
        text = f"{error}: write each user's home into the passwd-file (`doveadm user -f home NAME` says it)"
        draft.leave("mail_home", home, text, Weight.FIRST)
        return Home("", True, location, lower_cased)
