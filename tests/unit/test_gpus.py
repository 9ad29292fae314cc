"""Which GPUs there are: variables, a stand-in for NVIDIA's library, and files."""

import ctypes
import os

import pytest

from executorlib import _gpus, _worker
from executorlib._errors import ResourceError
from executorlib._gpus import Inventory, check_enough, device_names, inventory, kfd_names, nvml_names
from executorlib._resources import Request, check

ERROR = 999


class FakeNvml:
    """Speaks the library's interface: out-parameters behind ctypes.byref, zero for success.

    A GPU is a name; a list of names is a GPU that is divided into MIG devices; None cannot be opened.
    """

    def __init__(self, gpus, init=0):
        self.gpus = gpus
        self.init = init
        self.opened = 0
        self.names = {}

    def nvmlInit_v2(self):
        self.opened += self.init == 0
        return self.init

    def nvmlShutdown(self):
        self.opened -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.gpus)
        return 0

    def _open(self, thing, handle):
        if thing is None:
            return ERROR
        handle._obj.value = len(self.names) + 1
        self.names[handle._obj.value] = thing
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):
        return self._open(self.gpus[index], handle)

    def nvmlDeviceGetUUID(self, handle, text, size):
        name = self.names[handle.value]
        name = name if isinstance(name, str) else "GPU-divided"
        assert len(name) < size == ctypes.sizeof(text)
        text.value = name.encode()
        return 0

    def nvmlDeviceGetMigMode(self, handle, current, pending):
        current._obj.value = pending._obj.value = isinstance(self.names[handle.value], list)
        return 0

    def nvmlDeviceGetMaxMigDeviceCount(self, handle, count):
        count._obj.value = 7
        return 0

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index, mig):
        devices = self.names[handle.value]
        return self._open(devices[index] if index < len(devices) else None, mig)


class OldNvml(FakeNvml):
    """From before MIG."""

    @property
    def nvmlDeviceGetMigMode(self):
        raise AttributeError("undefined symbol: nvmlDeviceGetMigMode")


@pytest.fixture
def machine(monkeypatch):
    """A machine with nothing; what it is to have is set by keyword."""

    def has(nvml=(), files=(), kfd=()):
        monkeypatch.setattr(_gpus, "nvml_names", lambda: list(nvml))
        monkeypatch.setattr(_gpus, "device_names", lambda: list(files))
        monkeypatch.setattr(_gpus, "kfd_names", lambda: list(kfd))

    has()
    return has


@pytest.mark.parametrize(
    ("environ", "names", "variable"),
    [
        ({}, [], "CUDA_VISIBLE_DEVICES"),
        ({"EXECUTORLIB_GPUS": ""}, [], "CUDA_VISIBLE_DEVICES"),
        ({"EXECUTORLIB_GPUS": "0, 1,,any name,0"}, ["0", "1", "any name"], "CUDA_VISIBLE_DEVICES"),
        ({"EXECUTORLIB_GPUS": "0", "ROCR_VISIBLE_DEVICES": "4,5"}, ["0"], "ROCR_VISIBLE_DEVICES"),
        ({"EXECUTORLIB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "4,5"}, ["0"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, ["2", "0"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "1,1"}, ["1"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": ""}, [], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, [], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, [], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "0,1,-1,2"}, ["0", "1"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "0,,2"}, ["0"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1a,MIG-GPU-1a/1/0,MIG-2"}, ["GPU-1a", "MIG-GPU-1a/1/0", "MIG-2"],
         "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_GPUS": "6,7"}, ["0", "1"], "CUDA_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "1"}, ["0"], "CUDA_VISIBLE_DEVICES"),
        ({"HIP_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "4,5"}, ["1"], "HIP_VISIBLE_DEVICES"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-4f5e,5"}, ["GPU-4f5e", "5"], "ROCR_VISIBLE_DEVICES"),
    ],
)  # fmt: skip
def test_variables(machine, environ, names, variable):
    assert inventory(environ)[:2] == (names, variable)


def test_the_present_environment_is_the_default(machine, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "a,b")
    assert inventory().names == ["a", "b"]


@pytest.mark.parametrize(
    ("has", "environ", "names", "variable"),
    [
        ({"nvml": ["GPU-a", "GPU-b"], "files": ["0", "1"]}, {}, ["GPU-a", "GPU-b"], "CUDA_VISIBLE_DEVICES"),
        ({"files": ["0", "1"], "kfd": ["0"]}, {}, ["0", "1"], "CUDA_VISIBLE_DEVICES"),
        ({"kfd": ["0", "1"]}, {}, ["0", "1"], "ROCR_VISIBLE_DEVICES"),
        ({"kfd": ["0", "1"]}, {"EXECUTORLIB_GPUS": "1"}, ["1"], "ROCR_VISIBLE_DEVICES"),
        ({"files": ["0"]}, {"CUDA_VISIBLE_DEVICES": ""}, [], "CUDA_VISIBLE_DEVICES"),
        # The job has one of two; the job's own are the only ones to be seen; numbers that fit nothing.
        ({"nvml": ["GPU-a", "GPU-b"]}, {"SLURM_JOB_GPUS": "1"}, ["GPU-b"], "CUDA_VISIBLE_DEVICES"),
        ({"nvml": ["GPU-a", "GPU-b"]}, {"SLURM_JOB_GPUS": "0,1", "SLURM_STEP_GPUS": "0"}, ["GPU-a"],
         "CUDA_VISIBLE_DEVICES"),
        ({"nvml": ["GPU-a", "GPU-b"]}, {"SLURM_JOB_GPUS": "6,7"}, ["GPU-a", "GPU-b"], "CUDA_VISIBLE_DEVICES"),
        ({"nvml": ["GPU-a", "GPU-b"]}, {"SLURM_JOB_GPUS": "7"}, ["GPU-a", "GPU-b"], "CUDA_VISIBLE_DEVICES"),
        ({"nvml": ["GPU-a", "GPU-b"]}, {"SLURM_JOB_GPUS": "x"}, ["GPU-a", "GPU-b"], "CUDA_VISIBLE_DEVICES"),
    ],
)  # fmt: skip
def test_what_the_machine_has(machine, has, environ, names, variable):
    machine(**has)
    assert inventory(environ)[:2] == (names, variable)


@pytest.mark.parametrize(
    ("gpus", "names"),
    [
        ([], []),
        (["GPU-a", "GPU-b"], ["GPU-a", "GPU-b"]),
        (["GPU-a", None, "GPU-c"], ["GPU-a", "GPU-c"]),
        ([["MIG-1", "MIG-2"], "GPU-b"], ["MIG-1", "MIG-2", "GPU-b"]),
    ],
)
def test_management_library(gpus, names):
    library = FakeNvml(gpus)
    assert nvml_names(library) == names
    assert library.opened == 0


def test_management_library_from_before_mig():
    assert nvml_names(OldNvml(["GPU-a"])) == ["GPU-a"]


def test_management_library_without_a_driver():
    library = FakeNvml(["GPU-a"], init=ERROR)
    assert nvml_names(library) == []
    assert library.opened == 0


def test_no_management_library(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert nvml_names() == []


def test_device_files(tmp_path):
    for name in ("nvidia10", "nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert device_names(str(tmp_path)) == ["0", "2", "10"]
    assert device_names(str(tmp_path / "missing")) == []


def test_topology_of_amd(tmp_path):
    for node, simds in enumerate([0, 440, 440]):
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "properties").write_text(f"cpu_cores_count 4\nsimd_count {simds}\nmem_banks_count 1\n")
    (tmp_path / "3").mkdir()
    assert kfd_names(str(tmp_path)) == ["0", "1"]
    assert kfd_names(str(tmp_path / "missing")) == []


@pytest.mark.parametrize(
    ("count", "share", "holders", "enough"),
    [(2, 0, 1, True), (3, 0, 1, False), (1, 0, 2, True), (1, 0, 3, False), (4, 500, 1, True), (5, 500, 1, False),
     (1, 333, 6, True), (1, 333, 7, False), (1, 999, 3, False)],
)  # fmt: skip
def test_enough(count, share, holders, enough):
    found = Inventory(["0", "1"], "CUDA_VISIBLE_DEVICES", "somewhere")
    if enough:
        check_enough(found, count, share, holders)
    else:
        with pytest.raises(ResourceError, match=r"gpus_per_core.*2 GPU.*somewhere"):
            check_enough(found, count, share, holders)


@pytest.mark.parametrize(
    ("resources", "gpus", "share"),
    [
        ({}, 0, 0),
        ({"gpus_per_core": 0}, 0, 0),
        ({"gpus_per_core": 2}, 2, 0),
        ({"gpus_per_core": 2.0}, 2, 0),
        ({"gpus_per_core": 2, "cores": 3}, 6, 0),
        ({"gpus_per_core": 0.5}, 1, 500),
        ({"gpus_per_core": 1 / 3, "cores": 4}, 4, 333),
        ({"gpus_per_core": 0.00001}, 1, 1),
        ({"gpus_per_core": 0.99999}, 1, 999),
    ],
)
def test_request(resources, gpus, share):
    request = Request(check(resources))
    assert (request.gpus, request.gpu_share) == (gpus, share)
    assert request.needs[2:4] == (gpus, share)


@pytest.mark.parametrize(
    ("devices", "ranks", "parts"),
    [
        (["0", "1"], 1, [["0", "1"]]),
        (["0", "1", "2", "3"], 2, [["0", "1"], ["2", "3"]]),
        (["0", "0", "1", "1"], 4, [["0"], ["0"], ["1"], ["1"]]),
        (["0", "0"], 1, [["0"]]),
    ],
)
def test_parts_of_ranks(devices, ranks, parts):
    assert [_worker.assign_devices(devices, rank, ranks) for rank in range(ranks)] == parts


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.setattr(_worker, "_assigned", {})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("EXECUTORLIB_GPUS", "7")
    return _worker


@pytest.mark.parametrize("launcher", ["OMPI_COMM_WORLD", "PMI"])
def test_what_a_worker_was_given_outlasts_its_setup(worker, monkeypatch, launcher):
    monkeypatch.setenv(f"{launcher}_RANK", "1")
    monkeypatch.setenv(f"{launcher}_SIZE", "2")
    worker.take_devices(b"CUDA_VISIBLE_DEVICES\n4\n5\n6\n6", False)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6"
    worker.take_devices(b"CUDA_VISIBLE_DEVICES\n4\n5\n6\n6", True)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6" and "EXECUTORLIB_GPUS" not in os.environ
    worker.apply_setup({"environ": {"CUDA_VISIBLE_DEVICES": "7", "EXECUTORLIB_GPUS": "7"}})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6" and "EXECUTORLIB_GPUS" not in os.environ


def test_processors_that_are_not_there_any_more(monkeypatch):
    def refuse(pid, cpus):
        raise OSError(22, "Invalid argument")

    seen = []
    monkeypatch.setenv("PMI_RANK", "1")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: seen.append((pid, cpus)))
    _worker.take_cpus(b"0\n1\n2\n3", True)
    _worker.take_cpus(b"0\n1", False)
    assert seen == [(0, [2, 3]), (0, [0, 1])]
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    _worker.take_cpus(b"0", False)


def test_a_launcher_that_tells_no_rank(worker, monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="rank"):
        worker.take_devices(b"CUDA_VISIBLE_DEVICES\n4", True)
