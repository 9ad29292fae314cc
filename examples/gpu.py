"""GPUs for calls: each gets its own, or a share of one, and CUDA itself says which it sees.

Needs an NVIDIA GPU and its driver's libcuda; without them it says so and does nothing. PyTorch and CuPy are tried where
they are installed.
"""

import ctypes
import importlib.util
import time

from executorlib import SingleNodeExecutor


def cuda_devices():
    """UUIDs of the GPUs that CUDA sees in this process, and when it looked: began and ended."""
    began = time.monotonic()
    cuda = ctypes.CDLL("libcuda.so.1")
    count = ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return [], began, time.monotonic()
    # The first version names the whole GPU where MIG is on.
    get_uuid = getattr(cuda, "cuDeviceGetUuid_v2", None) or cuda.cuDeviceGetUuid
    uuids = []
    for index in range(count.value):
        device, uuid = ctypes.c_int(0), (ctypes.c_ubyte * 16)()
        if cuda.cuDeviceGet(ctypes.byref(device), index) or get_uuid(uuid, device):
            return [], began, time.monotonic()
        uuids.append(bytes(uuid).hex())
    return uuids, began, time.monotonic()


def sum_with_torch(count):
    import torch

    return torch.cuda.device_count(), float(torch.arange(count, device="cuda", dtype=torch.float64).sum())


def sum_with_cupy(count):
    import cupy

    return cupy.cuda.runtime.getDeviceCount(), float(cupy.arange(count, dtype=cupy.float64).sum())


def gpus_of_this_machine():
    """Asked in a call of its own: CUDA must not be initialized in the program that starts others."""

    def ask():
        try:
            return cuda_devices()[0]
        except OSError:
            return []

    with SingleNodeExecutor(max_workers=1) as exe:
        return exe.submit(ask).result()


def overlapping(spans):
    """Pairs of calls that had a GPU in common at the same time."""
    return [
        (first, second)
        for number, first in enumerate(spans)
        for second in spans[:number]
        if set(first[0]) & set(second[0]) and first[1] < second[2] and second[1] < first[2]
    ]


def main():
    gpus = gpus_of_this_machine()
    if not gpus:
        print("skipped: CUDA finds no GPU on this machine")
        return
    print(f"CUDA sees {len(gpus)} GPU(s)")

    for arguments in ({"max_cores": 64}, {"max_workers": len(gpus), "block_allocation": True}):
        with SingleNodeExecutor(resource_dict={"gpus_per_core": 1}, **arguments) as exe:
            spans = [future.result() for future in [exe.submit(cuda_devices) for _ in range(4 * len(gpus))]]
        assert all(len(seen) == 1 and seen[0] in gpus for seen, _, _ in spans), spans
        assert not overlapping(spans), "two calls had one GPU"
        print(f"{len(spans)} calls, each saw one GPU, and no two the same at one time")

    with SingleNodeExecutor(max_cores=64, resource_dict={"gpus_per_core": 0.5}) as exe:
        spans = [future.result() for future in [exe.submit(cuda_devices) for _ in range(4)]]
    assert all(len(seen) == 1 for seen, _, _ in spans), spans
    print("halves: each call saw one GPU, which two may share")

    with SingleNodeExecutor(resource_dict={"gpus_per_core": len(gpus)}) as exe:
        assert sorted(exe.submit(cuda_devices).result()[0]) == sorted(gpus)
        for name, function in (("torch", sum_with_torch), ("cupy", sum_with_cupy)):
            if importlib.util.find_spec(name):
                assert exe.submit(function, 1000, resource_dict={"gpus_per_core": 1}).result() == (1, 499500.0)
                print(f"{name} computed on its one GPU")
        try:
            exe.submit(cuda_devices, resource_dict={"gpus_per_core": len(gpus) + 1})
        except ValueError as error:
            print(f"one too many is refused: {error}")


if __name__ == "__main__":
    main()
