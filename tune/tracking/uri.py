"""Where MLflow's records go: the default, what is accepted, what may be shown, how a user opens it."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from trainable.errors import UserError
from trainable.shown import brief
from tune.command_line.mlflow_names import UI_PORT
from tune.printed.next_command import next_command
from tune.printed.secrets_left_out import redact

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""SQLAlchemy dialects that MLflow's tracking store knows."""

_DRIVERS = {"sqlite": "", "postgresql": "+psycopg", "mysql": "+pymysql", "mssql": "+pyodbc"}

HOST = "127.0.0.1"
OWN_SERVER = f"http://{HOST}:{UI_PORT}"
"""Of the server that `ui` starts, if its port is free."""

ALL_EXPERIMENTS = "#/experiments?workflowType=machine_learning"


def default_tracking_uri(cwd: Path) -> str:
    """MLflow's own default made absolute, so that it does not follow a later change of the working folder."""
    return _sqlite_uri(cwd.resolve() / "mlflow.db")


def chosen_tracking_uri(wanted: str | None) -> str:
    """The address as MLflow will get it: the wanted one, else MLFLOW_TRACKING_URI, else the working folder's SQLite.

    Raises: UserError as `check_uri`.
    """
    here = Path.cwd()
    uri = wanted or os.environ.get("MLFLOW_TRACKING_URI")
    return check_uri(uri, cwd=here) if uri else default_tracking_uri(here)


def check_uri(uri: str, *, cwd: Path) -> str:
    """The address as MLflow will get it: absolute, of a kind that works here.

    uri: http(s) address of a server, or a database URI; a relative SQLite path is taken from `cwd`.

    Raises: UserError for anything else; credentials in `uri` do not appear in the message.
    """
    uri = uri.strip()
    if not uri.isprintable():
        raise UserError(f"the tracking URI must be one line without control characters, but got {brief(redact(uri))}")
    scheme = uri.partition(":")[0].lower() if ":" in uri else ""
    if scheme in ("http", "https"):
        return _checked_server(uri)
    dialect = scheme.partition("+")[0]
    if scheme in ("sqlite", "sqlite+pysqlite"):
        return _checked_sqlite(uri, cwd)
    if dialect in DATABASES and "://" in uri:
        return _checked_database(uri, dialect)
    if scheme in ("", "file"):
        raise UserError(
            f"the tracking URI must name a database or a server, but got {redact(uri)!r}: MLflow no longer writes to "
            f"plain folders; use {default_tracking_uri(cwd)} or http://HOST:5000"
        )
    raise UserError(
        f"the tracking URI must start with http://, https:// or one of {', '.join(f'{d}://' for d in DATABASES)}, "
        f"but got {redact(uri)!r}"
    )


def database_file(uri: str) -> Path | None:
    """The file of an absolute SQLite URI; None for servers and other databases."""
    scheme, _, rest = uri.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(rest[1:].partition("?")[0])


def artifact_location(uri: str, experiment_name: str) -> str | None:
    """Absolute place of an experiment's files beside a local database; None where the server decides."""
    database = database_file(uri)
    if database is None:
        return None
    folder = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment_name).strip(".-") or "experiment"
    return (database.parent / "mlruns" / folder).as_uri()


def ui_link(base_url: str, experiment_id: str, parent_run_id: str | None = None) -> str:
    """Page of a study in MLflow's UI; the parameter after `?` keeps MLflow 3 from opening its GenAI pages."""
    runs = f"runs/{parent_run_id}" if parent_run_id else "runs"
    return f"{redact(base_url).rstrip('/')}/#/experiments/{experiment_id}/{runs}?workflowType=machine_learning"


def ui_page(base_url: str, fragment: str | None) -> str:
    """A page of MLflow's UI; fragment: what follows the server's address, None for the list of experiments."""
    return f"{redact(base_url).rstrip('/')}/{fragment or ALL_EXPERIMENTS}"


def ui_command(uri: str, experiment_id: str | None = None) -> str:
    """What shows the records: a command to run for a database, a link to open for a server."""
    if uri.startswith(("http://", "https://")):
        return ui_link(uri, experiment_id) if experiment_id else redact(uri)
    return next_command("ui", tracking_uri=uri)


def _checked_server(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or " " in uri:
        raise UserError(f"a tracking server must be given as http://HOST:PORT, but got {redact(uri)!r}")
    return uri.rstrip("/")


def _checked_database(uri: str, dialect: str) -> str:
    """Raises: UserError for what SQLAlchemy cannot read, and for a driver that is unknown or not installed."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    use = f"use {dialect}{_DRIVERS[dialect]}://USER:PASSWORD@HOST:PORT/DATABASE"
    try:
        driver = make_url(uri).get_dialect()
        if driver.is_async:
            raise NoSuchModuleError
        driver.import_dbapi()
    except NoSuchModuleError:
        scheme = uri.partition(":")[0]
        raise UserError(f"the tracking URI must name a driver that MLflow can use, but got {scheme}; {use}") from None
    except (ArgumentError, ValueError):
        raise UserError(f"the tracking URI must be as SQLAlchemy takes it, but got {redact(uri)!r}; {use}") from None
    except ImportError as error:
        raise UserError(
            f"the driver of the tracking URI must be installed, but {error.name or uri.partition(':')[0]} is not; "
            f"install it, or {use}"
        ) from None
    return uri


def _checked_sqlite(uri: str, cwd: Path) -> str:
    name = uri.partition("://")[2].removeprefix("/")
    if "?" in name or "#" in name:
        raise UserError(f"the path of an SQLite file must hold no ? and no #, but got {redact(uri)!r}")
    if not name or ":memory:" in name or "://" not in uri:
        raise UserError(
            f"an SQLite tracking URI must name a file that stays, but got {uri!r}; use {default_tracking_uri(cwd)}"
        )
    path = Path(os.path.realpath(cwd / name))
    if os.path.isdir(path):
        raise UserError(
            f"an SQLite tracking URI must name a file, but {path} is a folder; use {_sqlite_uri(path / 'mlflow.db')}"
        )
    if not os.path.isdir(path.parent):
        raise UserError(f"the folder of the tracking database must exist, but {path.parent} does not; make it first")
    return _sqlite_uri(path)


def _sqlite_uri(path: Path) -> str:
    return f"sqlite:///{path}"
