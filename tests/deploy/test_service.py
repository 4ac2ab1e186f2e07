"""The service's files, read by the tools that will read them, and its command, run as the unit says."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import service
from cli.environment import READY, ROOT, free_ports
from cli.service import launchd
from cli.service.definition import Scope, ServiceError, State
from cli.service.launchd import Launchd
from cli.service.systemd import Systemd
from tests.deploy import launchctl

CONFIG = ROOT / "serve_config.yaml"
SCOPES: tuple[Scope, ...] = ("user", "system")
# launchd.plist(5)
APPLE_KEYS = {
    "Label", "ProgramArguments", "WorkingDirectory", "EnvironmentVariables", "RunAtLoad", "KeepAlive", "UserName",
    "ThrottleInterval", "ExitTimeOut", "ProcessType", "Umask", "SoftResourceLimits", "StandardOutPath",
    "StandardErrorPath",
}  # fmt: skip


def settings_of(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if "=" in line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux only")
@pytest.mark.parametrize("scope", SCOPES)
def test_systemd_finds_nothing_to_say_against_the_unit(
    scope: Scope, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = tmp_path / "atelier.service"
    unit.write_text(Systemd(scope).definition(CONFIG))
    command = ["systemd-analyze", f"--{scope}", "--man=no", "--recursive-errors=no", "verify", str(unit)]
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("LimitCORE=0", "LimitCOR=0"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "LimitCOR" in done.stderr  # so it reads it


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux only")
def test_the_systems_unit_leaves_little_open(home: Path, tmp_path: Path) -> None:
    unit = tmp_path / "atelier.service"
    unit.write_text(Systemd("system").definition(CONFIG))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=35", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout  # exposure of at most 3.5 of 10


@pytest.mark.parametrize("scope", SCOPES)
def test_every_unit_holds_what_was_promised(scope: Scope, home: Path) -> None:
    unit = settings_of(Systemd(scope).definition(CONFIG))
    assert unit["NoNewPrivileges"] == unit["PrivateTmp"] == ["yes"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["MemoryMax"] == ["90%"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    if scope == "system":
        assert unit["User"] == ["atelier"]
        assert unit["ProtectSystem"] == ["strict"]
        assert unit["CapabilityBoundingSet"] == [""]


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux only")
def test_the_systems_unit_may_write_into_folders_that_its_variables_name(tmp_path: Path) -> None:
    class Elsewhere(Systemd):
        variables = tmp_path / "environment"  # else /etc/atelier's

    installed = Elsewhere("system")
    assert "ReadWritePaths" not in settings_of(installed.definition(CONFIG))
    installed.write_variables({"ATELIER_HOME": "/data/100% mine", "HF_HOME": "/var/cache/atelier/hub"})
    assert settings_of(installed.definition(CONFIG))["ReadWritePaths"] == ['"-/data/100%% mine"']
    unit = tmp_path / "atelier.service"
    unit.write_text(installed.definition(CONFIG))
    command = ["systemd-analyze", "--man=no", "--recursive-errors=no", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_names_that_mean_something_to_systemd_stay_names(home: Path, tmp_path: Path) -> None:
    odd = tmp_path / '100% "my" $config.yaml'
    (command,) = settings_of(Systemd("user").definition(odd))["ExecStart"]
    assert command.endswith(f'--config "{tmp_path}/100%% \\"my\\" $$config.yaml"')


@pytest.mark.parametrize("scope", SCOPES)
def test_the_property_list_has_apples_keys_only(scope: Scope, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "me")
    found = plistlib.loads(Launchd(scope).definition(CONFIG).encode())
    assert set(found) <= APPLE_KEYS
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    assert found["Umask"] == 0o077
    assert ("UserName" in found) == (scope == "system")


def test_the_property_lists_command_reads_the_variables(home: Path) -> None:
    agent = Launchd("user")
    agent.write_variables({"PORT": "8123", "HOME": "/nowhere"})
    assert agent.variables.stat().st_mode & 0o777 == 0o600
    arguments = plistlib.loads(agent.definition(CONFIG).encode())["ProgramArguments"]
    shown = subprocess.run([*arguments[:5], "printenv", "PORT"], capture_output=True, text=True, check=True)
    assert shown.stdout == "8123\n"
    agent.variables.write_text("PORT=8124\n")
    agent.write_variables({"PORT": "8123"})
    assert agent.variables.read_text() == "PORT=8124\n"  # written by hand since


def test_a_stop_waits_until_launchd_has_unloaded_the_server(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of Apple's launchctl one that answers as it does of a server which takes a while to end."""
    (tmp_path / "launchctl").write_text(f"""#!/bin/sh
cd {shlex.quote(str(tmp_path))}
echo "$1" >>asked
case $1 in
    bootout) echo 'Boot-out failed: 36: Operation now in progress' >&2; exit 36 ;;
    print) [ "$(grep -c print asked)" -lt 4 ] && echo '  pid = 4711' ;;
esac
""")
    (tmp_path / "launchctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    agent = Launchd("user")
    agent.path.parent.mkdir(parents=True)
    agent.path.touch()
    agent.stop()
    assert (tmp_path / "asked").read_text().split() == ["print", "bootout", "print", "print", "print"]
    assert agent.state() == State(installed=True, enabled=True, active="inactive")


@pytest.fixture
def agent(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launchd]:
    """One whose program is a script in this folder."""
    launchctl.install(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(launchd, "command", lambda config: ["/bin/sh", str(config)])
    yield (agent := Launchd("user"))
    agent.stop()


def test_a_start_under_launchd_waits_until_the_server_is_ready(agent: Launchd, tmp_path: Path) -> None:
    script = tmp_path / "server"
    script.write_text(f"echo a line; sleep 0.5; echo '{READY}http://127.0.0.1:8000'; touch {tmp_path}/ready; sleep 60")
    agent.log.parent.mkdir(parents=True)
    agent.log.write_text(f"{READY}http://127.0.0.1:8000\n")  # of an earlier one
    agent.install(script)
    assert (tmp_path / "ready").exists()
    state = agent.state()
    assert (state.active, state.pid is not None) == ("active", True)
    agent.start()  # it runs already
    assert agent.state() == state


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'atelier: port 8000 is already in use'; echo later; exit 1", "exit status 1: port 8000 is already in"),
        ("echo 'one line'; kill -KILL $$", "was killed by signal 9: one line"),
        ("exit 0", "ended with the exit status 0: it says nothing"),
    ],
)
def test_a_server_that_ends_under_launchd_is_seen_with_its_reason_and_unloaded(
    script: str, said: str, agent: Launchd, tmp_path: Path
) -> None:
    (tmp_path / "server").write_text(script)
    with pytest.raises(ServiceError, match=re.escape(said)) as failure:
        agent.install(tmp_path / "server")
    assert str(failure.value).endswith(f"(log: {agent.log})")
    assert "\n" not in str(failure.value)
    assert agent.state() == State(installed=True, enabled=True, active="inactive")


def test_what_is_not_installed_is_not_started_and_the_line_says_what_to_do(home: Path) -> None:
    assert service.here("user").state() == State(installed=False, enabled=False, active="inactive")
    with pytest.raises(ServiceError, match=r"not installed .*: make install$"):
        service.here("user").start()
    done = subprocess.run(
        [sys.executable, "-m", "cli.service", "status"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stdout.startswith("not installed (")
    for verb in ("uninstall", "start", "stop", "restart", "logs"):
        done = subprocess.run(
            [sys.executable, "-m", "cli.service", verb], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert re.fullmatch(r"atelier: the service is not installed \(.*\n", done.stderr)


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs here, and would install it")
def test_without_a_running_systemd_nothing_is_installed(home: Path) -> None:
    with pytest.raises(ServiceError, match=r"start the server with `make run`"):
        service.here("user").install(CONFIG)
    assert not service.here("user").path.exists()
    assert not service.here("user").variables.exists()


def test_a_configuration_with_a_mistake_is_not_installed(home: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG.read_text().replace("idle_timeout: 300", "idle_timeout: soon"))
    command = [sys.executable, "-m", "cli.service", "install", "--config", str(wrong)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"atelier: .*idle_timeout.*\n", done.stderr)
    assert not service.here("user").variables.exists()


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux only")
def test_the_units_command_says_when_it_is_ready_logs_to_its_output_and_ends_cleanly(
    home: Path, tmp_path: Path
) -> None:
    """As systemd would run it, in an environment of nothing but what the unit says, without new privileges."""
    unit = settings_of(Systemd("user").definition(CONFIG))
    (port,) = free_ports(1)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(120)
    environment = dict(each.split("=", 1) for line in unit["Environment"] for each in line.split())
    environment |= {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "PORT": str(port),
        "ATELIER_HOME": str(tmp_path / "home"),
    }
    environment |= {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8"}
    command = ["setpriv", "--no-new-privs", *shlex.split(unit["ExecStart"][0].replace("%%", "%").replace("$$", "$"))]
    with (tmp_path / "journal").open("wb") as journal:
        process = subprocess.Popen(
            command, cwd=unit["WorkingDirectory"][0], env=environment, stdout=journal, stderr=journal, umask=0o077
        )
        try:
            assert manager.recv(64) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert manager.recv(64) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            manager.close()
    lines = (tmp_path / "journal").read_text()
    assert f"Atelier is ready at http://127.0.0.1:{port}" in lines
    assert "controller" in lines  # of Serve, which writes into files only
