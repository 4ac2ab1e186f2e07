"""The service under systemd: a unit of the user's own manager, or of the system's."""

from __future__ import annotations

import getpass
import os
import shutil
from pathlib import Path
from typing import Final, NoReturn

from cli.environment import MISTAKE, ROOT
from cli.service.definition import (
    STOP_SECONDS,
    Scope,
    Service,
    ServiceError,
    State,
    become,
    command,
    remove,
    run,
    write,
)

NAME: Final = "atelier.service"
ACCOUNT: Final = "atelier"
"""Whom the system's service runs as."""
SYSTEM_FOLDER: Final = Path("/etc/systemd/system")
SYSUSERS: Final = Path("/etc/sysusers.d/atelier.conf")
STATE: Final = Path("/var/lib/atelier")
CACHE: Final = Path("/var/cache/atelier")

_UNIT = """\
# Written by `make install`; changes belong into {variables}, or `systemctl {flag}edit {name}`.
[Unit]
Description=Atelier, a server for pictures, vision, image search and voices
Documentation={documentation}
{ordering}StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
# It says itself when it is ready: a start waits for that.
Type=notify
NotifyAccess=all
WorkingDirectory={root}
Environment=ATELIER_LOG_STDOUT=1
{account}EnvironmentFile=-{variables}
ExecStart={command}
TimeoutStartSec=900
# Its first process ends the others in order; what is left after {stop} s is killed.
KillMode=mixed
TimeoutStopSec={stop}
Restart=on-failure
RestartSec=5
# A mistake in the configuration does not go away by itself.
RestartPreventExitStatus={mistake}

# One model that is killed for its memory is started again by Ray Serve, and is no reason to end the others.
OOMPolicy=continue
MemoryMax=90%
TasksMax=16384
LimitNOFILE=65536
LimitCORE=0

UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem={protect_system}
LockPersonality=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
{hardening}
[Install]
WantedBy={target}
"""

# What only the system's manager can do, and what would take away a user's own folders. Not among them: PrivateDevices
# (GPUs are devices), MemoryDenyWriteExecute (Triton and XLA compile), PrivateNetwork.
_SYSTEM_HARDENING = """\
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
CapabilityBoundingSet=
"""

_SYSTEM_ACCOUNT = f"""\
User={ACCOUNT}
Group={ACCOUNT}
StateDirectory=atelier
StateDirectoryMode=0750
CacheDirectory=atelier
CacheDirectoryMode=0750
Environment=HOME={STATE} ATELIER_HOME={STATE} XDG_CACHE_HOME={CACHE} HF_HOME={CACHE}/huggingface
"""


class Systemd(Service):
    """A unit. `systemctl` of the scope's manager does the work."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._flags = [] if scope == "system" else ["--user"]

    @property
    def path(self) -> Path:
        """The unit's file."""
        if self.scope == "system":
            return SYSTEM_FOLDER / NAME
        return _user_configuration() / "systemd" / "user" / NAME

    @property
    def variables(self) -> Path:
        """The unit's `EnvironmentFile`."""
        folder = Path("/etc/atelier") if self.scope == "system" else _user_configuration() / "atelier"
        return folder / "environment"

    def definition(self, config: Path) -> str:
        """The unit."""
        is_system = self.scope == "system"
        return _UNIT.format(
            name=NAME,
            flag="" if is_system else "--user ",
            root=_escaped(str(ROOT)),
            documentation=_escaped((ROOT / "docs" / "deployment.md").as_uri()),
            variables=_escaped(str(self.variables)),
            ordering="Wants=network-online.target\nAfter=network-online.target\n" if is_system else "",
            account=_SYSTEM_ACCOUNT if is_system else "",
            command=" ".join(_quoted(each) for each in command(config)),
            stop=STOP_SECONDS,
            mistake=MISTAKE,
            protect_system="strict" if is_system else "full",
            hardening=_SYSTEM_HARDENING + self._writable() if is_system else "",
            target="multi-user.target" if is_system else "default.target",
        )

    def environment(self) -> dict[str, str]:
        """Those of the unit, and of its file."""
        return ({"ATELIER_HOME": str(STATE)} if self.scope == "system" else {}) | super().environment()

    def install(self, config: Path) -> str:
        """Write the unit and its variables, and start it now and at every start of the machine."""
        self._require_manager()
        if self.scope == "system":
            _require_root()
            write(SYSUSERS, f'u {ACCOUNT} - "Atelier" {STATE}\n')
            run("systemd-sysusers", str(SYSUSERS))
            python = ROOT / ".venv" / "bin" / "python"
            _require_readable(python, python.resolve(), config.resolve())
        self.write_variables(os.environ)
        if self.scope == "system":
            _make(*self._elsewhere())
        write(self.path, self.definition(config))
        self._systemctl("daemon-reload")
        self._systemctl("enable", NAME)
        self._systemctl("restart", NAME)
        if self.scope == "system":
            return ""
        # else it would start with the user's first login, and end with the last
        account = getpass.getuser()
        try:
            run("loginctl", "enable-linger", account)
        except ServiceError as error:
            return f"it ends with your last login ({error}); to have it stay: sudo loginctl enable-linger {account}"
        return ""

    def uninstall(self) -> None:
        """Stop and remove the unit."""
        self.require_installed()
        self._require_manager()
        self._systemctl("disable", "--now", NAME)
        remove(self.path)
        self._systemctl("daemon-reload")

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.require_installed()
        self._systemctl("start", NAME)

    def stop(self) -> None:
        """Stop it, and wait."""
        self.require_installed()
        self._systemctl("stop", NAME)

    def state(self) -> State:
        """What `systemctl show` says."""
        if not self.path.exists():
            return State(installed=False, enabled=False, active="inactive")
        wanted = "ActiveState,UnitFileState,MainPID,NRestarts,MemoryCurrent,StateChangeTimestamp"
        shown = dict(
            line.split("=", 1) for line in self._systemctl("show", NAME, f"--property={wanted}").splitlines() if line
        )
        memory = shown.get("MemoryCurrent", "")
        pid = int(shown.get("MainPID") or 0)
        return State(
            installed=True,
            enabled=shown.get("UnitFileState") == "enabled",
            active=shown.get("ActiveState", "inactive"),
            pid=pid or None,
            restarts=int(shown.get("NRestarts") or 0),
            memory_bytes=int(memory) if memory.isdecimal() and int(memory) < 2**63 else None,
            since=shown.get("StateChangeTimestamp") or None,
        )

    def logs(self, *, follow: bool, lines: int) -> NoReturn:
        """`journalctl` of the unit."""
        self.require_installed()
        unit = ["--unit", NAME] if self.scope == "system" else ["--user-unit", NAME]
        become("journalctl", *unit, "--lines", str(lines), *(["--follow"] if follow else []))

    def _elsewhere(self) -> list[Path]:
        """Folders for state and checkpoints that the variables name, outside those that the system's unit brings."""
        variables = super().environment()
        named = [Path(variables[name]) for name in ("ATELIER_HOME", "HF_HOME") if variables.get(name)]
        return [each for each in named if not (each.is_relative_to(STATE) or each.is_relative_to(CACHE))]

    def _writable(self) -> str:
        return "".join(f'ReadWritePaths="-{_escaped(str(each))}"\n' for each in self._elsewhere())

    def _systemctl(self, *arguments: str) -> str:
        return run("systemctl", *self._flags, *arguments)

    def _require_manager(self) -> None:
        """Check that the scope's systemd runs: in a container there is mostly none."""
        try:
            self._systemctl("show", "--property=Version")
        except ServiceError as error:
            raise ServiceError(f"systemd does not run here ({error}); start the server with `make run`") from None


def _user_configuration() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ServiceError("a service of the system needs root: sudo make install SYSTEM=1")


def _make(*folders: Path) -> None:
    """Make those that are not there, for the service's account."""
    for each in folders:
        if not each.exists():
            try:
                each.mkdir(0o750, parents=True)
                shutil.chown(each, ACCOUNT, ACCOUNT)
            except (OSError, LookupError) as error:
                raise ServiceError(f"cannot make {each} for {ACCOUNT}: {error}") from None


def _require_readable(*paths: Path) -> None:
    """Check that the service's account reaches these files: in somebody's home folder it does not."""
    for path in paths:
        for folder in path.parents:
            if not folder.stat().st_mode & 0o001:
                raise ServiceError(
                    f"the account {ACCOUNT} cannot enter {folder}; clone the repository into /opt/atelier, "
                    "or install a service of your own without SYSTEM=1"
                )


def _escaped(text: str) -> str:
    """As a path in a unit: % begins a specifier."""
    return text.replace("%", "%%")


def _quoted(argument: str) -> str:
    """As a word of ExecStart."""
    escaped = _escaped(argument).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if any(each in argument for each in " \t'\"\\;") else escaped
