"""Where the programs of a real control plane are, and what to do where they are not."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ASSETS = "KUBEBUILDER_ASSETS"

_ETCD, _API_SERVER, _CONTROLLERS = "etcd", "kube-apiserver", "kube-controller-manager"
REMEDY = (
    f"Put {_API_SERVER} and {_CONTROLLERS} of one Kubernetes release into a folder, {_ETCD} beside"
    f" them or on the PATH (Debian: etcd-server), and name the folder in {ASSETS}."
)
_VERSION = re.compile(r"v1\.(\d+)\.")
_VERSION_SECONDS = 10.0


class ControlPlaneError(Exception):
    """The control plane cannot start, or has not; the message says why and what to do."""


@dataclass(frozen=True)
class Binaries:
    """The paths of the three programs."""

    etcd: str
    api_server: str
    controller_manager: str

    def minor_version(self) -> int:
        """Return Kubernetes' minor version: 20 for v1.20.2. Raises ControlPlaneError."""
        try:
            answer = subprocess.run(
                [self.controller_manager, "--version"],
                capture_output=True,
                text=True,
                timeout=_VERSION_SECONDS,
                check=False,
            ).stdout
        except (OSError, subprocess.TimeoutExpired) as silent:
            raise ControlPlaneError(f"{self.controller_manager} does not run here.") from silent
        found = _VERSION.search(answer)
        if not found:
            raise ControlPlaneError(f"{self.controller_manager} does not tell its version.")
        return int(found[1])


def find_binaries(environment: Mapping[str, str] = os.environ) -> Binaries:
    """Find the programs in the folder that KUBEBUILDER_ASSETS names.

    Raises ControlPlaneError when the variable is not set or a program is missing.
    """
    folder = environment.get(ASSETS)
    if not folder:
        raise ControlPlaneError(f"No real control plane: {ASSETS} is not set. {REMEDY}")
    found = {name: shutil.which(name, path=folder) for name in (_ETCD, _API_SERVER, _CONTROLLERS)}
    found[_ETCD] = found[_ETCD] or shutil.which(_ETCD, path=environment.get("PATH"))
    missing = [name for name, path in found.items() if not path]
    if missing:
        raise ControlPlaneError(
            f"No real control plane: {' and '.join(missing)} not found in {folder} ({ASSETS})."
            f" {REMEDY}"
        )
    return Binaries(*(str(Path(path).absolute()) for path in found.values() if path))
