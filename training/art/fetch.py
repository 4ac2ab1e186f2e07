"""Packages of drawings and fonts, by npm's and Debian's ordinary clients as they are configured here.

Those of npm are checked against their pinned digests; Debian's own client checks its packages.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from training.art.designs import Design

_ROOT: Final = Path(__file__).parent.parent.parent
_UNPACK: Final = _ROOT / "deploy" / "unpack.sh"
UNPACKED: Final = _ROOT / ".venv" / "debian" / "usr" / "share"
"""What packages of Debian share, once they are unpacked."""


class ArtError(Exception):
    """Art that cannot be fetched or read; one line that says what is wrong."""


def fetch(design: Design, folder: Path) -> tarfile.TarFile:
    """The design's package, opened; downloaded to `folder` unless it is there already.

    Raises:
        ArtError: there is no npm, it could not download the package, or this is not the package that was pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{design.name}-{design.version}.tgz"
    if not kept.exists():
        _download(design, kept)
    algorithm, _, digest = design.integrity.partition("-")
    found = base64.b64encode(hashlib.new(algorithm, kept.read_bytes()).digest()).decode()
    if found != digest:
        raise ArtError(f"{kept} is not the pinned {design.package} {design.version}: {algorithm}-{found}; delete it")
    return tarfile.open(kept)


def unpack(package: str, wanted: Iterable[Path]) -> None:
    """Unpack a package of Debian, without installing it, unless all that is wanted of it lies there already.

    Raises:
        ArtError: it cannot be had, or does not hold what is wanted.
    """
    wanted = list(wanted)
    if all(path.exists() for path in wanted):
        return
    ended = subprocess.run([_UNPACK, package], capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    if ended.returncode:
        raise ArtError(
            f"{package} could not be unpacked: {(ended.stderr.strip() or 'no reason given').splitlines()[-1]}"
        )
    for path in wanted:
        if not path.exists():
            raise ArtError(f"{package} holds no {path.name}")


def _download(design: Design, kept: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise ArtError("npm is needed to download drawings: install Node.js")
    folder = kept.with_suffix(".partial")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [npm, "pack", f"{design.package}@{design.version}", "--silent", "--pack-destination", str(folder)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        packed = list(folder.glob("*.tgz"))
        if ended.returncode or len(packed) != 1:
            said = (ended.stderr.strip() or ended.stdout.strip() or "no package came").splitlines()[-1]
            raise ArtError(f"npm could not download {design.package} {design.version}: {said}")
        packed[0].replace(kept)
    finally:
        shutil.rmtree(folder)
