"""The executors that are compared. A measurement receives a Peer and opens what it needs."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

WORKERS = 2


class NotInstalled(Exception):
    """The package of a peer is missing in its environment."""


def _one_by_one(futures):
    return [future.result() for future in futures]


@dataclass(frozen=True)
class Peer:
    """One column of the table.

    Parameters
    ----------
    name : str
        Name on the command line and in the results.
    label : str
        Heading in the table.
    module : str or None
        Module to import before anything is timed.
    persistent : callable or None
        Returns an executor with two long-lived workers, a context manager.
    per_call : callable or None
        Returns an executor that gives every call a process of its own.
    page : callable or None
        Returns the pool for the emcee example.
    collect : callable
        Futures -> list of their results, the way its users would do it.
    quiet : bool, default True
        Whether it uses no CPU while idle, so that it may stay open while another peer is timed.
    resolves_futures : bool, default False
        Whether futures may be arguments.
    any_function : bool, default True
        Whether lambdas can be submitted.
    """

    name: str
    label: str
    module: str | None = None
    persistent: Callable | None = None
    per_call: Callable | None = None
    page: Callable | None = None
    collect: Callable = _one_by_one
    quiet: bool = True
    resolves_futures: bool = False
    any_function: bool = True


def _process_pool():
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork"))


def _thread_pool():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(WORKERS)


def _loky():
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(WORKERS)


class _DaskClient:
    """The futures interface of a dask client: its futures may be arguments, and equal calls run anew."""

    def __init__(self, client):
        self._client = client

    def submit(self, function, /, *args, **kwargs):
        return self._client.submit(function, *args, pure=False, **kwargs)

    def map(self, function, *iterables):
        return iter(self._client.gather(self._client.map(function, *iterables, pure=False)))


def _dask_gather(futures):
    return futures[0].client.gather(futures)


@contextlib.contextmanager
def _dask():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield _DaskClient(client)


def _block():
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=WORKERS, block_allocation=True)


def _single():
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_cores=WORKERS)


def _page():
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(block_allocation=True)


def _multiprocessing_pool():
    import multiprocessing

    return multiprocessing.get_context("fork").Pool(WORKERS)


_ALL = (
    Peer("ours", "executorlib", "executorlib", _block, _single, _page, resolves_futures=True),
    Peer("process", "ProcessPoolExecutor", None, _process_pool, page=_process_pool, any_function=False),
    Peer("thread", "ThreadPoolExecutor", None, _thread_pool, page=_thread_pool),
    Peer("loky", "loky", "loky", _loky, page=_loky),
    Peer(
        "dask",
        "dask LocalCluster",
        "distributed",
        _dask,
        collect=_dask_gather,
        quiet=False,
        resolves_futures=True,
    ),
    Peer(
        "reference",
        "reference 1.11.0",
        "executorlib",
        _block,
        _single,
        _page,
        quiet=False,
        resolves_futures=True,
    ),
    Peer("pool", "multiprocessing.Pool", None, page=_multiprocessing_pool, any_function=False),
    Peer("serial", "serial", None, page=contextlib.nullcontext),
    Peer("limit", "limit", None),
)
PEERS = {peer.name: peer for peer in _ALL}
