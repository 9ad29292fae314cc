"""Use an executor below joblib and behind a tqdm progress bar.

tqdm wraps ``as_completed`` as it wraps every iterable. joblib runs on any executor through a backend of a
few lines: submit a batch, and call back when its future is done.
"""

import sys
from concurrent.futures import as_completed

from joblib import Parallel, delayed, parallel_config, register_parallel_backend
from joblib.parallel import ParallelBackendBase
from tqdm import tqdm

from executorlib import SingleNodeExecutor


def collatz_length(n):
    length = 1
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        length += 1
    return length


class ExecutorBackend(ParallelBackendBase):
    """A joblib backend that sends its batches to a ``concurrent.futures`` executor."""

    supports_retrieve_callback = True

    def __init__(self, executor=None, **kwargs):
        super().__init__(**kwargs)
        self.executor = executor

    def effective_n_jobs(self, n_jobs):
        return self.executor.max_workers

    def submit(self, func, callback=None):
        future = self.executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out):
        return out.result()


def with_joblib(exe, numbers):
    register_parallel_backend("executor", ExecutorBackend)
    with parallel_config(backend="executor", executor=exe):
        return Parallel()(delayed(collatz_length)(n) for n in numbers)


def with_tqdm(exe, numbers):
    futures = {exe.submit(collatz_length, n): n for n in numbers}
    lengths = {}
    for future in tqdm(as_completed(futures), total=len(futures), desc="tqdm", file=sys.stdout):
        lengths[futures[future]] = future.result()
    return [lengths[n] for n in numbers]


def main():
    numbers = range(1, 201)
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        from_joblib = with_joblib(exe, numbers)
        from_tqdm = with_tqdm(exe, numbers)
    expected = [collatz_length(n) for n in numbers]
    if from_joblib != expected or from_tqdm != expected:
        print("FAILED: the results differ from the serial ones", file=sys.stderr)
        return 1
    longest = max(numbers, key=lambda n: expected[n - 1])
    print(f"joblib and tqdm: the longest Collatz sequence below {numbers.stop} starts at {longest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
