"""Files that the settings name, as several verbs look at them."""

from greenmail.auth import passwd_file
from greenmail.config import Config
from greenmail.errors import Refused


def problems(config: Config) -> list[str]:
    """Files that the settings name and that cannot be read."""
    wanted = {}
    tables = {"passwd-file": config.passwd_file, "deny-file": config.deny_file}
    tables["master-passwd-file"] = config.master_passwd_file
    for key, path in tables.items():
        if path and "%" not in path:
            wanted[path] = key
    for listener in config.listeners():
        if listener.cert_path:
            wanted[listener.cert_path] = f"cert-path of listener {listener.name}"
            wanted[listener.key_path] = f"key-path of listener {listener.name}"
    found = []
    for path, what in wanted.items():
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            found.append(f"{what}: {path} cannot be read: {error.strerror}")
    return found


def table(path: str) -> passwd_file.Table:
    """The passwd-file at `path`. Raises Refused."""
    try:
        with open(path, "rb") as file:
            return passwd_file.parse(file.read())
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
