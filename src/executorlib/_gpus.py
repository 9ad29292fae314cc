"""Which GPUs there are for this program, and the variable by which a process is told which of them are its own.

Looked for in this order; the first that is set, or found, counts:

    EXECUTORLIB_GPUS          names with commas between them, for whoever knows better: a test, a user. Empty is none.
    CUDA_VISIBLE_DEVICES      as the user or the scheduler set it; a scheduler that gives a job two of eight GPUs says
                              here how it numbers them
    HIP_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES         the same for AMD
    the NVIDIA management library                     UUIDs of all GPUs, or of the MIG devices where MIG is on
    /dev/nvidia0, /dev/nvidia1, …
    /sys/class/kfd                                    GPUs of AMD

If a Slurm job names fewer of what was found in the last three (SLURM_STEP_GPUS, SLURM_JOB_GPUS), those count. None of
this initializes CUDA, in any process: a library that does so would not survive a fork, and keeps memory on every GPU.
"""

from __future__ import annotations

import os
import re

from executorlib._errors import ResourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NamedTuple

    class Inventory(NamedTuple):
        """The GPUs that may be used.

        Attributes:
            names: of each: an index, a UUID, or the name of a MIG device.
            variable: of the environment, tells a process which GPUs are its own.
            source: where the names are from, for an error message.
        """

        names: list[str]
        variable: str
        source: str

else:
    from collections import namedtuple

    Inventory = namedtuple("Inventory", "names variable source")

NVIDIA, HIP, AMD = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


def inventory(environ: Mapping[str, str] | None = None) -> Inventory:
    """The GPUs that a program with this environment, by default the present one, may use."""
    environ = os.environ if environ is None else environ
    listed = environ.get("EXECUTORLIB_GPUS")
    if listed is not None:
        return Inventory(_unique(_split(listed)), _variable(environ), "EXECUTORLIB_GPUS")
    for variable in (NVIDIA, HIP, AMD):
        if variable in environ:
            return Inventory(_visible(environ[variable]), variable, f"{variable}={environ[variable]}")
    for names, variable, source in (
        (nvml_names(), NVIDIA, "the NVIDIA management library"),
        (device_names(), NVIDIA, "/dev/nvidia*"),
        (kfd_names(), AMD, "/sys/class/kfd"),
    ):
        if names:
            return Inventory(_of_job(names, environ), variable, source)
    return Inventory(
        [],
        NVIDIA,
        "EXECUTORLIB_GPUS, CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES, "
        "the NVIDIA management library, /dev/nvidia*, /sys/class/kfd",
    )


def check_enough(found: Inventory, count: int, share: int, holders: int) -> None:
    """Refuse what can never be had.

    Parameters:
        found: the GPUs there are.
        count: how many one holder, a call or a lasting worker, asks for.
        share: thousandths of each; 0 is whole GPUs.
        holders: how many there are to be at once.

    Raises:
        ResourceError: with the number of GPUs, and where they were looked for.
    """
    here = len(found.names) * (1000 // share if share else 1)
    if count * holders <= here:
        return
    if not found.names:
        raise ResourceError(
            f"gpus_per_core asks for GPUs, but none was found in {found.source}; "
            "EXECUTORLIB_GPUS=0,1 in the environment names those that there are"
        )
    kind = f"shares of {share / 1000:g} GPU" if share else "GPU(s)"
    who = "a call needs" if holders == 1 else f"{holders} workers need, at {count} each,"
    raise ResourceError(
        f"{who} {count * holders} {kind}, but there are {here}: gpus_per_core counts for each of the cores, and "
        f"{len(found.names)} GPU(s) were found in {found.source}"
    )


def _variable(environ: Mapping[str, str]) -> str:
    """By which names that came without one are passed on."""
    for variable in (NVIDIA, HIP, AMD):
        if variable in environ:
            return variable
    return AMD if not device_names() and kfd_names() else NVIDIA


def _split(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _unique(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")


def _visible(text: str) -> list[str]:
    """The devices that a *_VISIBLE_DEVICES lists, as its readers see it: up to the first that names none."""
    names = []
    for part in text.split(","):
        name = part.strip()
        if not _NAME.fullmatch(name):
            break
        names.append(name)
    return _unique(names)


def _of_job(names: list[str], environ: Mapping[str, str]) -> list[str]:
    """Those of the node's GPUs that Slurm gave to this job, if it gave some and has not hidden the others itself."""
    given = _split(environ.get("SLURM_STEP_GPUS") or environ.get("SLURM_JOB_GPUS") or "")
    places = {int(place) for place in given if place.isdecimal()}
    if not places or len(places) != len(given) or len(places) >= len(names) or max(places) >= len(names):
        return names
    return [names[place] for place in sorted(places)]


# ---- the NVIDIA management library ----


def nvml_names(library: Any = None) -> list[str]:
    """UUIDs of the GPUs, or of the MIG devices of those that are divided; empty where there is no such library."""
    nvml = library or _load_nvml()
    if nvml is None or nvml.nvmlInit_v2() != 0:
        return []
    try:
        return [name for device in _handles(nvml) for name in _mig_names(nvml, device) or _name(nvml, device)]
    finally:
        nvml.nvmlShutdown()


def _load_nvml() -> Any:
    import ctypes

    try:
        return ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None


def _handles(nvml: Any) -> list[Any]:
    import ctypes

    count = ctypes.c_uint(0)
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    handles = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        # Fails for a GPU of somebody else's container.
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
            handles.append(handle)
    return handles


def _name(nvml: Any, handle: Any) -> list[str]:
    import ctypes

    text = ctypes.create_string_buffer(96)
    return [text.value.decode()] if nvml.nvmlDeviceGetUUID(handle, text, 96) == 0 else []


def _mig_names(nvml: Any, device: Any) -> list[str]:
    import ctypes

    mode, pending, count = ctypes.c_uint(0), ctypes.c_uint(0), ctypes.c_uint(0)
    try:
        if nvml.nvmlDeviceGetMigMode(device, ctypes.byref(mode), ctypes.byref(pending)) != 0 or mode.value != 1:
            return []
        if nvml.nvmlDeviceGetMaxMigDeviceCount(device, ctypes.byref(count)) != 0:
            return []
        names = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index, ctypes.byref(handle)) == 0:
                names += _name(nvml, handle)
        return names
    except AttributeError:  # a library from before MIG
        return []


# ---- files ----


def device_names(folder: str = "/dev") -> list[str]:
    """Indices of NVIDIA's device files."""
    try:
        found = [re.fullmatch(r"nvidia(\d+)", name) for name in os.listdir(folder)]
    except OSError:
        return []
    return [str(number) for number in sorted(int(match[1]) for match in found if match)]


def kfd_names(folder: str = "/sys/class/kfd/kfd/topology/nodes") -> list[str]:
    """Indices of AMD's GPUs: the nodes of its topology that have compute units, processors apart."""
    try:
        nodes = os.listdir(folder)
    except OSError:
        return []
    count = 0
    for node in nodes:
        try:
            with open(os.path.join(folder, node, "properties"), encoding="ascii", errors="replace") as properties:
                text = properties.read()
        except OSError:
            continue
        simds = re.search(r"^simd_count (\d+)", text, re.MULTILINE)
        count += bool(simds and int(simds[1]))
    return [str(index) for index in range(count)]
