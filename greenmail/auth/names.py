"""User names: what a client's spelling becomes, which names are refused, and the paths that are built from them.

    login ──default-domain──► name@domain ──username-format──► the user's name, everywhere from here on

Nothing builds a path from a name that `refusal` has something against: `expand` asks it first.
"""

import re
import unicodedata

from greenmail.errors import Refused

_LONGEST = 255  # octets: a name becomes one component of a path
_FORMAT = re.compile(r"%([LU]?)([und%])")
_PATH = re.compile(r"%([undh%])")
_LOWER = {ord(upper): upper.lower() for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_UPPER = {ord(lower): lower.upper() for lower in "abcdefghijklmnopqrstuvwxyz"}
_CASES = {"L": _LOWER, "U": _UPPER, "": dict[int, str]()}


def normalize(login: str, username_format: str = "%Lu", default_domain: str = "") -> str:
    """The user's name, from what a client gave.

    Cases are changed in ASCII alone, as Dovecot does: directories on disk are named so.
    """
    whole = f"{login}@{default_domain}" if default_domain and login and "@" not in login else login
    local, _, domain = whole.partition("@")
    values = {"u": whole, "n": local, "d": domain, "%": "%"}
    return _FORMAT.sub(lambda match: values[match[2]].translate(_CASES[match[1]]), username_format)


def refusal(name: str) -> str:
    """Why `name` cannot be a user's name, or "" if it can."""
    if not name or len(name.encode("utf-8", "surrogatepass")) > _LONGEST:
        return f"empty, or longer than {_LONGEST} octets"
    if "/" in name:
        return "has a / in it"
    # Cc are the control characters, NUL among them; Zl and Zp end lines in logs; Cs cannot be written as UTF-8.
    if any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in name):
        return "has a control character in it"
    if any(part in ("", ".", "..") for part in (name, *name.split("@"))):
        return "has an empty part, or one that is . or .."
    return ""


def expand(template: str, name: str, home: str = "") -> str:
    """The path of `template` for user `name`: %u name, %n before "@", %d behind it, %h or a leading ~ home, %% percent.

    Raises Refused, before anything is put together, if the name is not fit for a path, or a part asked for is empty.
    """
    reason = refusal(name)
    if reason:
        raise Refused(f"this user name {reason}")
    local, _, domain = name.partition("@")
    if template == "~" or template.startswith("~/"):
        template = "%h" + template[1:]
    values = {"u": name, "n": local, "d": domain, "h": home.rstrip("/") or home, "%": "%"}
    lacking = {"d": "a domain", "h": "a home directory"}
    for letter, what in lacking.items():
        if not values[letter] and letter in _PATH.findall(template):
            raise Refused(f"this user has no place for mail: it needs {what}")
    return _PATH.sub(lambda match: values[match[1]], template)


def mail_option(location: str, name: str) -> str:
    """An option of a Dovecot location (`maildir:~/Maildir:LAYOUT=fs`); empty if it has none of that name."""
    for option in location.split(":")[2:]:
        key, _, value = option.partition("=")
        if key.upper() == name:
            return value
    return ""


def mail_template(mail_path: str, location: str = "") -> str:
    """`mail-path`, unless the user database gives a `location` of its own (Dovecot's `mail=maildir:~/Maildir:...`).

    Raises Refused if that is another format than Maildir, or no path to begin at. Its paths (`:INDEX=`,
    `:CONTROL=`) are left out: where they matter, `control-path` says the same for everybody.
    """
    if not location:
        return mail_path
    kind, colon, rest = location.partition(":")
    if not colon:
        rest = location
    elif kind != "maildir":
        raise Refused("this user's mail is not in a Maildir")
    path = rest.partition(":")[0]
    if not path.startswith(("/", "~/", "%h/")) and path not in ("~", "%h"):
        raise Refused("this user's mail has no absolute path")
    return path
