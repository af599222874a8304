"""What a run runs in: Python, the machine, the packages. Never secrets: of the environment
variables only those that are named here."""

from __future__ import annotations

import os
import platform
import re
import sys
from functools import cache
from importlib.metadata import distributions

import msgspec
from blake3 import blake3

#: Which devices a process sees: whether it has any decides what a training does.
DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
#: They decide what a training does, and hold nothing that is secret. Nor what is another in each
#: job or process, as RANK: equal environments are to be one.
VARIABLES = (
    *DEVICES,
    *("CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF"),
    *("PYTHONHASHSEED", "PYTHONOPTIMIZE", "TF_DETERMINISTIC_OPS", "XLA_FLAGS"),
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"),
    *("POLARS_MAX_THREADS", "WORLD_SIZE", "LANG", "TZ"),
)


class Environment(msgspec.Struct, frozen=True):
    """What a run runs in.

    Attributes:
        python: its version; implementation: CPython, PyPy.
        packages: installed ones and their versions, by normalised name, sorted.
        variables: those of the environment that are in `VARIABLES`.
    """

    python: str
    implementation: str
    platform: str
    machine: str
    cpus: int
    packages: dict[str, str]
    variables: dict[str, str]

    @property
    def hash(self) -> str:
        """The same for equal environments: 64 hex digits."""
        return blake3(msgspec.json.encode(self, order="deterministic")).hexdigest()


def this_environment() -> Environment:
    """The environment of this process."""
    return Environment(
        python=platform.python_version(),
        implementation=sys.implementation.name,
        platform=platform.platform(),
        machine=platform.machine(),
        cpus=os.cpu_count() or 1,
        packages=_packages(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


@cache
def _packages() -> dict[str, str]:
    # The first of a name is the one that is imported.
    found: dict[str, str] = {}
    for distribution in distributions():
        said = distribution.metadata  # which is read and parsed each time
        if said["Name"]:  # else it is the rest of one that was removed by halves
            found.setdefault(re.sub(r"[-_.]+", "-", said["Name"]).lower(), said["Version"])
    return dict(sorted(found.items()))
