"""`atelier up`: check what can be checked at once, then start the server and stay in the foreground.

The server is a tree of processes: this one, which only watches, and below it `cli.serving`, which starts Ray and Serve.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
import yaml

import settings
from cli.cluster import checked_address
from cli.environment import LOG, MISTAKE, ROOT, driver_environment, haproxy_binary, serving_environment
from cli.log_lines import printed
from cli.supervisor import Supervisor
from stores.api_key_table import refuse_file
from stores.api_keys import ApiKeyFile
from stores.errors import StoreUnusable


class StartError(Exception):
    """The server cannot start here; `str(error)` is one line that says why and what helps."""


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The address as a client on this machine writes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{self.port}"


def up(
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT", help="A Ray cluster that runs already, of which this machine is a node; it stays."
        ),
    ] = None,
) -> None:
    """Start the server on HOST (127.0.0.1) and PORT (8000); Ctrl-C or SIGTERM ends it."""
    if address is not None:
        up_on_cluster(config, address)
        return
    try:
        configured = settings.load(config, os.environ)
        door = listening_address(config)
        doors = [door]
        if second := settings.variable(os.environ, "FILE_SERVER_PORT"):
            doors.append(Address(door.host, port_number("FILE_SERVER_PORT", second)))
            if haproxy_binary() is None:
                raise settings.ConfigurationError(
                    f"FILE_SERVER_PORT: {second!r}: a second port needs HAProxy, which is not on the PATH"
                )
            if doors[0] == doors[1]:
                raise settings.ConfigurationError(f"FILE_SERVER_PORT: {second!r}: is PORT already; choose another")
        settings.memory_for_models(configured.models)
    except settings.ConfigurationError as error:
        fail(str(error), status=MISTAKE)
    home = configured.folder
    try:
        for each in doors:
            require_free(each)
        with own_home(home, configured.least_free_bytes) as lock, runtime_folder() as folder:
            require_folders(configured)
            require_keys(configured)
            install_environments(configured)
            json.dump({"pid": os.getpid(), "url": door.url, "folder": str(folder)}, lock)
            lock.flush()
            print(f"Starting Atelier; its logs are in {home / 'logs'}", flush=True)
            environment = serving_environment(door.host, door.port, folder, home)
            with kept_logs(folder, home), printed_logs(folder):
                status = run_serving(environment, config, door, folder)
            if status:
                raise StartError(f"{last_line(folder / LOG)} (logs: {home / 'logs'})")
    except StartError as error:
        fail(str(error), status=1)


def up_on_cluster(config: Path, given: str) -> None:
    """Start the server on a Ray cluster, stay, and end it there; the cluster stays.

    Raises:
        typer.Exit: it cannot start, for a reason that has been said.
    """
    try:
        configured = settings.load(config, os.environ)
        door = listening_address(config)
        address = checked_address(given)
        if settings.variable(os.environ, "FILE_SERVER_PORT"):
            raise settings.ConfigurationError("FILE_SERVER_PORT: there is no second port with --address; leave it out")
    except settings.ConfigurationError as error:
        fail(str(error), status=MISTAKE)
    home = configured.folder
    try:
        with own_home(home, configured.least_free_bytes) as lock, runtime_folder() as folder:
            require_keys(configured)
            json.dump({"pid": os.getpid(), "url": door.url, "folder": str(folder)}, lock)
            lock.flush()
            print(f"Starting Atelier on the Ray cluster at {address}", flush=True)
            if run_serving(driver_environment(home), config, door, folder, address):
                raise StartError(last_line(folder / LOG))
    except StartError as error:
        fail(str(error), status=1)


def run_serving(environment: dict[str, str], config: Path, door: Address, folder: Path, *more: str) -> int:
    """Run `cli.serving` until it ends or is asked to; its exit status, but for mistakes in the configuration.

    Raises:
        typer.Exit: the configuration has a mistake, which has been said.
    """
    arguments = (config, door.host, door.port, door.url, folder, *more)
    status = Supervisor([sys.executable, "-m", "cli.serving", *map(str, arguments)], environment).run()
    if status == MISTAKE:
        fail(last_line(folder / LOG), status=status)
    return status


def fail(message: str, *, status: int) -> NoReturn:
    """Say why in one line and leave.

    Raises:
        typer.Exit: always.
    """
    print(f"atelier: {message}", file=sys.stderr)
    raise typer.Exit(status)


def listening_address(config: Path) -> Address:
    """HOST and PORT, else `http_options` of the configuration file, else 127.0.0.1:8000.

    Raises:
        settings.ConfigurationError: the port is none.
    """
    options: Any = yaml.safe_load(config.read_text()).get("http_options") or {}
    if not isinstance(options, dict):
        raise settings.ConfigurationError(
            f"{config}: http_options: {options!r}: a mapping with host and port is needed"
        )
    host = os.environ.get("HOST") or str(options.get("host") or "127.0.0.1")
    for name in ("PORT", "GATEWAY_PORT"):
        if port := settings.variable(os.environ, name):
            return Address(host, port_number(name, port))
    return Address(host, port_number(f"{config}: http_options.port", options.get("port", 8000)))


def port_number(name: str, given: object) -> int:
    """The port that a setting names.

    Raises:
        settings.ConfigurationError: it is none.
    """
    if not str(given).isdecimal() or not 1 <= int(str(given)) <= 65535:
        raise settings.ConfigurationError(f"{name}: {given!r}: a port number from 1 to 65535 is needed")
    return int(str(given))


def require_free(address: Address) -> None:
    """Check that nothing listens at the address yet.

    Raises:
        StartError: it is taken, or it is not an address of this machine.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host.strip("[]"), address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {address.port} is already in use; choose another with PORT=…") from None
        if error.errno == errno.EACCES:
            raise StartError(f"port {address.port} needs privileges; choose another with PORT=…") from None
        raise StartError(f"cannot listen on HOST={address.host}: {error.strerror}") from None


@contextlib.contextmanager
def own_home(home: Path, least_free: int) -> Iterator[TextIO]:
    """The home folder for this server alone; yields its `server.json`, empty and writable.

    Raises:
        StartError: it cannot be made or written, is full, or belongs to a server that runs.
    """
    try:
        # Pictures, voices and answers are its user's alone. A folder that is there already is as somebody wanted it.
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (home / "server.json").open("a+")
    except OSError as error:
        raise StartError(f"cannot write to ATELIER_HOME {home}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(f"another server runs in ATELIER_HOME {home}; choose another folder") from None
        free = shutil.disk_usage(home).free
        if free < least_free:
            needed = f"{free // 2**20} MiB free, {least_free // 2**20} MiB are needed"
            raise StartError(f"ATELIER_HOME {home} is full: {needed}")
        forget_killed_server(lock)
        try:
            yield lock
        finally:
            lock.truncate(0)


def require_folders(configured: "settings.Settings") -> None:
    """Make what may lie elsewhere than in the home folder, and check that it can be written to.

    Raises:
        StartError: it cannot.
    """
    needed: dict[str, Path] = {}
    if configured.image_search_enabled:
        needed["IMAGE_SEARCH_DB_PATH"] = configured.search.database_in(configured.folder).parent
    if not configured.r2.enabled:
        needed["IMAGE_SEARCH_FILES_DIR"] = configured.search.files_in(configured.folder)
    for variable, folder in needed.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise StartError(f"cannot write to {folder}: {error.strerror}; choose another with {variable}=…") from None


def require_keys(configured: "settings.Settings") -> None:
    """Check that the file of keys, if there is one, can be read, and is where keys are looked for.

    Raises:
        StartError: it cannot, or is damaged; or its keys are to be moved to PostgreSQL.
    """
    try:
        ApiKeyFile(configured.keys_path).read()
        if configured.keys_database_url is not None:
            refuse_file(configured.keys_path)
    except StoreUnusable as error:
        raise StartError(str(error)) from None


def install_environments(configured: "settings.Settings") -> None:
    """Install the packages of engines that have an environment of their own, where they are not there yet.

    Raises:
        StartError: they cannot be installed.
    """
    for name in configured.environments:
        if _run_script(ROOT / "deploy" / "environment.sh", name):
            raise StartError(f"requirements.{name}.lock could not be installed; see the lines above")


def _run_script(script: Path, argument: str) -> int:
    """The exit status of a shell script. It is asked to end, and waited for, when this process is.

    Raises:
        StartError: it cannot be run.
    """
    try:
        # not by its own right to be executed, which not every copy of a repository keeps
        process = subprocess.Popen(["sh", script, argument], env={**os.environ, "PYTHON": sys.executable})  # noqa: S603, S607
    except OSError as error:
        raise StartError(f"cannot run sh {script}: {error.strerror}") from None
    with process:
        try:
            return process.wait()
        except BaseException:  # whatever it is: `subprocess.run` would kill it, so that it could not clear away
            process.terminate()
            raise


def forget_killed_server(lock: TextIO) -> None:
    """Empty `server.json`, and remove the runtime folder of a server that could not do it itself."""
    lock.seek(0)
    with contextlib.suppress(json.JSONDecodeError, KeyError):
        shutil.rmtree(json.load(lock)["folder"], ignore_errors=True)
    lock.truncate(0)


@contextlib.contextmanager
def runtime_folder() -> Iterator[Path]:
    """A private folder for sockets and Ray's session, gone at the end.

    Not under ATELIER_HOME: the path of a UNIX socket has at most 107 bytes, and HAProxy's and Ray's names take 80.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="atelier-", dir="/tmp"))
    except OSError as error:
        raise StartError(f"cannot make a folder in /tmp: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def kept_logs(folder: Path, home: Path) -> Iterator[None]:
    """`home/logs` leads to the session's logs while it runs and holds them afterwards; the run before is kept too."""
    logs, previous = home / "logs", home / "logs.previous"
    session = folder / "ray" / "session_latest" / "logs"
    if logs.is_symlink():
        logs.unlink()
    elif logs.exists():
        shutil.rmtree(previous, ignore_errors=True)
        logs.rename(previous)
    logs.symlink_to(session)
    try:
        yield
    finally:
        logs.unlink(missing_ok=True)
        # A full disk must not turn a clean stop into a failure.
        with contextlib.suppress(OSError, shutil.Error):
            shutil.move(session, logs)
            logs.chmod(0o700)  # Ray lets everybody write there
            shutil.copy(folder / LOG, logs)


def printed_logs(folder: Path) -> contextlib.AbstractContextManager[None]:
    """With ATELIER_LOG_STDOUT=1 the session's log lines are printed too, for a journal or a container's log."""
    if os.environ.get("ATELIER_LOG_STDOUT", "0") != "1":
        return contextlib.nullcontext()
    serve = folder / "ray" / "session_latest" / "logs" / "serve"
    return printed({folder: LOG, serve: "*.log*"})


def last_line(log: Path) -> str:
    """What a process that failed wrote last."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "the server ended unexpectedly"
