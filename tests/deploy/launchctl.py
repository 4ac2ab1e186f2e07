"""In place of Apple's launchctl one that starts, shows and ends a program as that does, by its property list.

`print` says it as macOS 14 does.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

_KEEPER: Final = """
import plistlib, subprocess, sys
from pathlib import Path
folder, plist = Path(sys.argv[1]), plistlib.loads(Path(sys.argv[2]).read_bytes())
with open(plist["StandardOutPath"], "ab") as log:
    process = subprocess.Popen(
        plist["ProgramArguments"], cwd=plist["WorkingDirectory"], stdout=log, stderr=log, start_new_session=True
    )
    (folder / "pid").write_text(str(process.pid))
    (folder / "ending").write_text(str(process.wait()))
    (folder / "ending").rename(folder / "ended")
"""
_LAUNCHCTL: Final = """\
#!/bin/sh
cd {folder}
verb=$1 what=$2
[ "$verb" = bootstrap ] || [ -d loaded ] || {{ echo 'Could not find service' >&2; exit 113; }}
case $verb in
    bootstrap)
        mkdir loaded
        {python} -S -c {keeper} loaded "$3" </dev/null >/dev/null 2>&1 &
        until [ -e loaded/pid ]; do sleep 0.02; done ;;
    bootout)
        [ -e loaded/ended ] || kill -s TERM -- "-$(cat loaded/pid)"
        until [ -e loaded/ended ]; do sleep 0.02; done
        rm -r loaded ;;
    print)
        printf '%s = {{\\n' "$what"
        if [ ! -e loaded/ended ]; then
            printf '\\tstate = running\\n\\tpid = %s\\n\\tlast exit code = (never exited)\\n' "$(cat loaded/pid)"
        else
            status=$(cat loaded/ended)
            case $status in
                -*) printf '\\tstate = not running\\n\\tlast terminating signal = Killed: %s\\n' "${{status#-}}" ;;
                *) printf '\\tstate = not running\\n\\tlast exit code = %s\\n' "$status" ;;
            esac
        fi
        echo '}}' ;;
esac
"""


def install(folder: Path) -> None:
    """Put it into a folder, which goes to the front of the PATH."""
    program = folder / "launchctl"
    quoted = {"folder": str(folder), "python": sys.executable, "keeper": _KEEPER}
    program.write_text(_LAUNCHCTL.format(**{name: shlex.quote(each) for name, each in quoted.items()}))
    program.chmod(0o755)
