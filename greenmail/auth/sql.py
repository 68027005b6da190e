"""`type: sql`: one SELECT with bound parameters, by SQLAlchemy: SQLite, PostgreSQL, MySQL and MariaDB.

    SELECT password, home, uid, gid FROM users WHERE name = :user

One row is the user: its columns are fields, as `fields` has them. None is nobody; two are a mistake, and let nobody in.
A name never becomes a part of the text of the query.

    SELECT name FROM users

With such an `iterate-query`, too, whose first column is a name, the command line can ask for all users.
"""

import importlib
import sqlite3
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from greenmail.auth import fields, scram_keys
from greenmail.auth.api import Secret
from greenmail.auth.database import Found, Listed, Question, StandIn, Unavailable, Unlisted, Verdict, Wrong

_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
_SHOWN = 200
_RECYCLE = 1800  # seconds after which a connection is opened anew: before what stands in between forgets it


@dataclass(frozen=True, slots=True)
class Settings:
    """As in the configuration."""

    url: str
    query: str
    timeout: float
    password: Secret = field(default_factory=lambda: Secret(b""))
    connections: int = 4
    default_scheme: str = "CRYPT"
    iterate_query: str = ""


def missing(url: str) -> str:
    """What is not installed here that this database needs; empty: nothing."""
    kind = url.partition(":")[0].partition("+")[0]
    for module in ("sqlalchemy", *([_DRIVERS[kind]] if kind in _DRIVERS else [])):
        try:
            importlib.import_module(module)
        except ImportError:
            return f"needs the Python package {module}: pip install 'greenmail[sql]'"
    return ""


class SqlDatabase:
    """Satisfies `remembered.Backend`."""

    label = "sql"
    compares = False

    def __init__(self, settings: Settings, summary: scram_keys.Summary) -> None:
        # Here and not above: it is an optional part, which `missing` has looked for.
        import sqlalchemy

        self.summary = summary
        self._settings = settings
        self._engine = _engine(settings)
        self._query = sqlalchemy.text(settings.query)
        self._iterate = sqlalchemy.text(settings.iterate_query)
        self._error = sqlalchemy.exc.SQLAlchemyError

    def look_up(self, name: str) -> Found:
        """The user's row."""
        local, _, domain = name.partition("@")
        values = {"user": name, "name": local, "domain": domain}
        try:
            connection = self._engine.connect()
        except self._error as error:
            return Unavailable(_text(error))
        with connection:
            try:
                rows = connection.execute(self._query, values).fetchmany(2)
            except self._error as error:
                # A name that does not fit into the column's character set, say: that is no outage.
                return Unavailable(_text(error), not getattr(error, "connection_invalidated", False))
        if not rows:
            return StandIn()
        if len(rows) > 1:
            return Unavailable(f"the query gives more than one row for user {name}", True)
        return fields.entry(name, rows[0]._mapping, self._settings.default_scheme)

    def everybody(self) -> Listed:
        """The first column of every row of `iterate-query`."""
        if not self._settings.iterate_query:
            return Unlisted("sql has no iterate-query")
        try:
            with self._engine.connect() as connection:
                names = [fields.text_of(row[0]) for row in connection.execute(self._iterate)]
        except self._error as error:
            return Unavailable(_text(error))
        return list(dict.fromkeys(name for name in names if name))

    def verify(self, name: str, question: Question) -> Verdict:
        """What is stored is compared elsewhere."""
        return Wrong("a database of SQL does not compare passwords")

    def close(self) -> None:
        """Give up all connections."""
        self._engine.dispose()


def _engine(settings: Settings) -> Any:
    # Here and not above: it is an optional part, which `missing` has looked for.
    import sqlalchemy
    from sqlalchemy.pool import QueuePool

    url = sqlalchemy.make_url(settings.url)
    password = settings.password.reveal()
    if password:
        url = url.set(password=password.decode("utf-8"))
    options: dict[str, Any] = {
        "pool_size": settings.connections,
        "max_overflow": 0,
        "pool_timeout": settings.timeout,
        "pool_pre_ping": True,  # a server that was restarted is asked anew
        "pool_recycle": _RECYCLE,
        "hide_parameters": True,  # in the texts of errors
        "isolation_level": "AUTOCOMMIT",
    }
    seconds = max(1, round(settings.timeout))
    kind = url.get_backend_name()
    if kind == "sqlite":
        file = url.database or ""

        def connect() -> sqlite3.Connection:
            # Only to be read, and not to be made where there is none.
            place = f"file:{urllib.parse.quote(file)}?mode=ro"
            return sqlite3.connect(place, uri=True, timeout=settings.timeout, check_same_thread=False)

        return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=QueuePool, **options)
    if url.drivername == kind:
        url = url.set(drivername=f"{kind}+{_DRIVERS[kind]}")
    if kind == "postgresql":
        options["connect_args"] = {
            "connect_timeout": seconds,
            "prepare_threshold": None,  # PgBouncer hands the next query to another connection
            "options": f"-c statement_timeout={round(settings.timeout * 1000)}",
            "tcp_user_timeout": round(settings.timeout * 1000),
            "keepalives_idle": 60,
        }
    else:
        limits = dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), seconds)
        options["connect_args"] = {**limits, "charset": "utf8mb4"}
    return sqlalchemy.create_engine(url, **options)


def _text(error: Exception) -> str:
    """The database's own words, in one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:_SHOWN]
