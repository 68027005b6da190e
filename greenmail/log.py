"""Sets up logging as `log-level`, `log-format` and `log-path` say.

    text = timestamp SP level "[" pid "]" SP message LF [traceback, each line indented]
    json = {"time", "level", "pid", "logger", "event", "message"[, "fields"]} LF

The part between time and message is one word, so that filters which expect a host name there (fail2ban's) fit. A
message begins with its event, whose name is stable: docs/log-events.md. A line is one write(2) to a file opened with
O_APPEND: lines of many processes never mix, and a file that was renamed or removed by a rotation is opened anew at the
next line.

`trace` is below DEBUG: `logging.getLogger(...).log(TRACE, ...)`.
"""

import json
import logging
import os
import re
import stat
import sys
import syslog
import time
from collections import deque
from collections.abc import Callable

TRACE = 5
LEVELS = {
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_PRIORITIES = (
    (logging.ERROR, syslog.LOG_ERR),
    (logging.WARNING, syslog.LOG_WARNING),
    (logging.INFO, syslog.LOG_INFO),
    (0, syslog.LOG_DEBUG),
)
_VALUE = re.compile(r"(?:([a-z][a-z0-9_]*)=)?%[-#0 +]*[0-9]*(?:\.[0-9]+)?[a-z]")
# C0, DEL, C1 and the two line ends of Unicode: nothing that a client sent may begin a line or move a cursor.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def setup(level: str, style: str, path: str, owner: tuple[int, int] | None = None) -> None:
    """Send what the loggers of this process get to `path` (`-`, `syslog`, a file). Raises OSError if that is no use.

    May be called again, for example after a reload; the old destination is closed. `level` and `style` are those of
    the settings `log-level` and `log-format`. `owner` (uid, gid) is given the file if root sets this up for processes
    that will drop their privileges: they must be able to open what a rotation has put in its place.
    """
    destinations: dict[str, Callable[[], logging.Handler]] = {"-": StandardError, "syslog": Syslog}
    handler = destinations.get(path, lambda: LogFile(path, owner))()
    handler.setFormatter(Json() if style == "json" else Text(bare=path == "syslog"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    # Libraries have nothing to say below warnings that an administrator could use.
    root.setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("greenmail").setLevel(LEVELS[level])
    logging.raiseExceptions = False  # a full disk must not print a traceback for every line
    for name, number in LEVELS.items():
        logging.addLevelName(number, name)


def look() -> None:
    """Open a log file anew if it was rotated away: only a privileged process may be able to, and it may be silent."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.look()


def _one_line(text: str) -> str:
    return text.translate(_ESCAPES)


def _timestamp(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class Text(logging.Formatter):
    """For people, and for fail2ban."""

    def __init__(self, bare: bool = False) -> None:
        super().__init__()
        self._bare = bare  # syslog has its own time, level and pid

    def format(self, record: logging.LogRecord) -> str:
        line = _one_line(record.getMessage())
        if record.exc_info:
            line += "".join(f"\n    {_one_line(part)}" for part in self.formatException(record.exc_info).split("\n"))
        return line if self._bare else f"{_timestamp(record)} {record.levelname}[{record.process}] {line}"


def event(template: str) -> str:
    """The stable name of a line: its words before the first value; "login refused sid=%s" is login-refused."""
    words = []
    for word in template.split(" "):
        if "=" in word or "%" in word:
            break
        words.append(word.strip(":,;"))
        if word.endswith(":"):
            break
    return "bug" if words[:1] == ["bug"] else "-".join(words)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """The values of a line by their names, `sid=%s` is "sid"; numbers stay numbers."""
    if not isinstance(record.msg, str) or not isinstance(record.args, tuple):
        return {}
    found: dict[str, object] = {}
    for match, value in zip(_VALUE.finditer(record.msg.replace("%%", "")), record.args, strict=False):
        if match[1]:
            found[match[1]] = value if isinstance(value, str | int | float | bool | None) else str(value)
    return found


class Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        fields: dict[str, object] = {
            "time": _timestamp(record),
            "level": record.levelname,
            "pid": record.process,
            "logger": record.name,
            "event": event(record.msg if isinstance(record.msg, str) else message) or event(message),
            "message": message,
        }
        values = _fields(record)
        if values:  # else the line ends here: the filter for fail2ban knows it so
            fields["fields"] = values
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=True)


class _Writer(logging.Handler):
    """A line is one write(2), never buffered in this process."""

    def _descriptor(self) -> int:
        return 2

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(self._descriptor(), (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except (OSError, ValueError, TypeError):  # a full disk, a wrong format: the server's work goes on
            self.handleError(record)


class StandardError(_Writer):
    """Wherever the process was started from, or journald."""

    def flush(self) -> None:
        sys.stderr.flush()


class LogFile(_Writer):
    """A file, opened anew when its name stands for another one. Raises OSError if it cannot be opened at first."""

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        super().__init__()
        self._path = path
        self._owner = owner
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        # Readable for the group: logs go to administrators and to nobody else.
        if self._owner is None or os.geteuid() != 0:
            return os.open(self._path, flags, 0o640)
        # The directory may be the workers' user's: a link or a second name of a file of root's must not make us write
        # to that file, nor give it away. A link that root made is the administrator's will.
        if os.path.islink(self._path) and os.lstat(self._path).st_uid == 0:
            return os.open(self._path, flags, 0o640)
        # Nor may a FIFO without a reader hold us up.
        found = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640)
        state = os.fstat(found)
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
            os.fchown(found, *self._owner)
        return found

    def _descriptor(self) -> int:
        ours = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return self._fd
        except FileNotFoundError:
            pass  # rotated away: make it anew below
        except OSError:
            return self._fd
        try:
            fresh = self._open()
        except OSError:
            return self._fd  # for example the privileges to create it are gone: the renamed file still takes lines
        os.dup2(fresh, self._fd, inheritable=False)  # other threads may be about to write to the old number
        os.close(fresh)
        return self._fd

    def look(self) -> None:
        """Open the file anew if its name stands for another one, or for none. Never raises OSError."""
        self._descriptor()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()


class Syslog(logging.Handler):
    """The system's log, facility mail."""

    def __init__(self) -> None:
        super().__init__()
        syslog.openlog("greenmail", syslog.LOG_PID, syslog.LOG_MAIL)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
            for line in self.format(record).split("\n"):
                syslog.syslog(priority, line.replace("\0", "?"))
        except (OSError, ValueError, TypeError):  # a full disk, a wrong format: the server's work goes on
            self.handleError(record)


MOST_TROUBLES = 20  # lines that `Recent` keeps until they are taken
_MOST_TEXT = 300  # characters of one
# Who cannot log in is no trouble of the server's, and there are many such lines.
_NO_TROUBLE = ("login ", "Login: ")


class Recent(logging.Handler):
    """Keeps the last warnings and errors of this process for administrators who look at its status."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: deque[dict[str, str]] = deque(maxlen=MOST_TROUBLES)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (ValueError, TypeError):  # a wrong format: the other handlers have said so
            return
        if not message.startswith(_NO_TROUBLE):
            text = _one_line(message)[:_MOST_TEXT]
            level = "error" if record.levelno >= logging.ERROR else "warn"
            self._lines.append({"time": _timestamp(record), "level": level, "text": text})

    def take(self) -> list[dict[str, str]]:
        """What came since the last call."""
        found = list(self._lines)
        self._lines.clear()
        return found


def keep_recent() -> Recent:
    """Have what GreenMail logs in this process kept from now on, whatever `setup` does; what was kept before is not."""
    logger = logging.getLogger("greenmail")
    for old in list(logger.handlers):
        if isinstance(old, Recent):
            logger.removeHandler(old)
    recent = Recent()
    logger.addHandler(recent)
    return recent
