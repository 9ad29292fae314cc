"""The calls of a file executor that are under way: from the submission to the end of their futures.

    waiting for arguments  -->  ready  -->  its job runs  -->  output file there  -->  futures done
            │                     │             │ process gone
            │                     │             └─▶ no output: an error; if it was another driver's, ready again
            └── an argument failed, or cancelled ─▶ the same for its futures

One thread per executor does all of it, the others leave messages. It sleeps in `Watch.next()`, so an idle executor
wakes nobody. What it knows is lost with its process; what counts is on the file system (src/core/batch/job.h).
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from heapq import heappop, heappush
from time import monotonic

from executorlib import _core, _job_record
from executorlib._errors import CacheFileError, error_for
from executorlib._file_future import FileFuture
from executorlib._job import (
    CLAIMED,
    FAILED,
    INPUT,
    OUTPUT,
    command,
    read_output,
    remove,
    remove_empty_logs,
    take_failure,
)
from executorlib._local_queue import LocalQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from executorlib._flux_queue import FluxQueue
    from executorlib._slurm_queue import SlurmQueue

    Queue: TypeAlias = LocalQueue | SlurmQueue | FluxQueue

_logger = logging.getLogger("executorlib")

_TAIL = 4096  # bytes of a log that an error quotes
_ELSEWHERE_S = 5.0  # between two looks whether what holds a claim on another machine has given it up
_GRACE_S = 0.3  # from SIGTERM to SIGKILL, unless the call says otherwise


class Job:
    """One call, and who waits for it.

    Parameters:
        base (str): path of its files without their endings.
        fields (dict | None): of the input file; None if that is written.
        future (FileFuture): of the call.
        producers (list[Future]): what must be done before it can start.
        resources (dict): of the call.
        cores (int): what it occupies of the executor's limit.
    """

    def __init__(
        self,
        base: str,
        fields: dict[str, bytes] | None,
        future: FileFuture,
        producers: list[Future],
        resources: dict[str, Any],
        cores: int,
    ) -> None:
        self.base = base
        self.fields = fields
        self.futures = [future]
        self.producers = producers
        self.resources = resources
        self.cores = cores
        self.id = 0
        self.missing = 0  # producers that are not done
        self.queue_id: Any = None  # while it runs, or a scheduler has it
        self.placed = False  # ready, or submitted
        self.own = False  # whether this process has submitted it
        self.ended = False  # its futures are done
        self.cancelled = False
        self.observed = False  # only waited for: another program has submitted it

    @property
    def output(self) -> str:
        return self.base + OUTPUT


class Jobs:
    """Runs calls as jobs.

    Parameters:
        queue: where jobs are submitted.
        limit (int): cores that the running jobs occupy together; a wider one runs alone.
        detaches (bool): whether calls are left behind at the end, instead of waiting for them.
        temporary (bool): whether it shuts down once all expected futures are done.
    """

    def __init__(self, queue: Queue, limit: int, detaches: bool = False, temporary: bool = False) -> None:
        self._queue: Any = queue
        self._limit = limit
        self._detaches = detaches
        self._temporary = temporary
        self._alarm: _core.Watch | None = None  # the watch of the thread, while that runs
        self._messages: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._futures: set[FileFuture] = set()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._detached = threading.Event()
        self.closed = False
        # What follows, and self._watch, is the thread's own.
        self._by_base: dict[str, Job] = {}
        self._by_id: dict[int, Job] = {}
        self._ready: list[tuple[int, int, Job]] = []
        self._elsewhere: set[Job] = set()
        self._kills: list[tuple[float, int]] = []
        self._used = 0
        self._last_id = 0

    # ---- for any thread ----

    def expect(self, future: FileFuture) -> None:
        """Take responsibility for the end of this future; refused after shutdown."""
        with self._lock:
            if self._pid != os.getpid():
                raise RuntimeError("this executor belongs to the parent of this process; make a new one here")
            if self.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._futures.add(future)
            if self._thread is None:
                self._alarm = self._watch = _core.Watch()
                self._thread = threading.Thread(target=self._run, name="executorlib-jobs", daemon=True)
                self._thread.start()
        future.add_done_callback(self._forget)

    def add(self, job: Job) -> None:
        """Run a call whose future is expected, unless it has been computed or runs already."""
        self.post(lambda: self._take(job))

    def cancel(self, future: FileFuture) -> None:
        """The future was cancelled: end its job if nobody else waits for it."""
        self.post(lambda: self._cancel(future))

    def post(self, message: Callable[[], None]) -> None:
        """Have the thread do something."""
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        alarm = self._alarm
        if alarm is not None:
            alarm.wake()

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Futures are cancelled, with their jobs, if asked to. Else they are waited for; or they are cancelled while their
        jobs go on, and a process of its own sees to those that have not started.
        """
        wait = wait and not self._detaches
        with self._lock:
            self.closed = True
            thread, futures = self._thread, list(self._futures)
        if thread is None or self._pid != os.getpid() or self._detached.is_set():
            return
        if cancel_futures:
            for future in futures:
                future.cancel()
        elif not wait:
            self.post(self._detach)
            self._detached.wait()
        self._wake()
        if wait or (cancel_futures and self._detaches):
            thread.join()

    def __len__(self) -> int:
        return len(self._futures)

    def _forget(self, future: Any) -> None:
        with self._lock:
            self._futures.discard(future)
            self.closed = self.closed or (self._temporary and not self._futures)
        self._wake()

    # ---- the thread ----

    def _run(self) -> None:
        while not (self.closed and not self._futures and not self._messages and not self._by_base):
            for identity, kind, status in self._watch.next(self._timeout_ms()):
                if kind == "file":
                    self._file_appeared(identity)
                elif identity in self._by_id:
                    self._process_ended(self._by_id[identity], status)
            while self._messages:
                self._messages.popleft()()
                self._start_ready()
            self._do_what_is_due()
            self._start_ready()
        del self._watch
        self._alarm = None

    def _file_appeared(self, identity: int) -> None:
        if identity in self._by_id:
            self._finish(self._by_id[identity])

    def _timeout_ms(self) -> int:
        due = [max(0.0, self._kills[0][0] - monotonic())] if self._kills else []
        due += [_ELSEWHERE_S] if self._elsewhere else []
        return int(min(due) * 1000) + 1 if due else -1

    def _do_what_is_due(self) -> None:
        while self._kills and self._kills[0][0] <= monotonic():
            job = self._by_id.get(heappop(self._kills)[1])
            if job is not None and job.cancelled and job.queue_id is not None:
                self._queue.cancel(job.queue_id, force=True)
        for job in list(self._elsewhere):
            self._examine(job)

    # ---- a call comes ----

    def _take(self, job: Job) -> None:
        known = self._by_base.get(job.base)
        if known is not None and not known.ended:
            known.futures += job.futures
            return
        if known is not None:
            # Its process is still about to exit; should there be no output then, the call starts anew.
            known.futures, known.fields, known.producers = job.futures, job.fields, job.producers
            known.ended = known.own = False
            self._finish(known)
            return
        self._last_id += 1
        job.id = self._last_id
        self._by_base[job.base] = self._by_id[job.id] = job
        self._watch.add_file(job.id, job.output)
        if os.path.exists(job.output):
            self._finish(job)
        else:
            self._examine(job)

    def _examine(self, job: Job) -> None:
        """There is no output: wait for who computes it, or see to it here."""
        self._elsewhere.discard(job)
        holder = "gone"
        try:
            claim = _core.read_claim(job.base)
            if claim is not None:
                _, pid, _, holder = claim
            if holder == "lives" and self._watch.add_process(job.id, pid):
                self._runs(job, pid, own=False)
            elif holder == "elsewhere" or (job.observed and claim is None):
                self._elsewhere.add(job)
                self._mark_started(job)
            elif job.observed:
                self._fail(job, _lost(job, claim[1], None))  # type: ignore[index]
            else:
                self._prepare(job)
        except OSError as error:
            self._fail(job, error)

    def _prepare(self, job: Job) -> None:
        """Write the input file, and wait for what the call takes as arguments."""
        if job.fields is not None:
            _write_call(job.base + INPUT, job.fields)
            job.fields = None
        elif not os.path.exists(job.base + INPUT) and not os.path.exists(job.output):
            raise FileNotFoundError(2, "the input file of the call was removed", job.base + INPUT)
        job.missing = len(job.producers)
        for producer in job.producers:
            producer.add_done_callback(lambda done: self.post(lambda: self._producer_done(job, done)))
        if self._may_be_placed(job):
            self._make_ready(job)

    def _may_be_placed(self, job: Job) -> bool:
        return job.missing == 0

    def _producer_done(self, job: Job, producer: Future) -> None:
        if self._by_id.get(job.id) is not job or job.ended:
            return
        job.missing -= 1
        if producer.cancelled():
            for future in list(job.futures):
                future.cancel()
        elif (error := producer.exception()) is not None:
            self._fail(job, error)
        elif job.missing == 0:
            job.producers = []
            if not job.placed:
                self._make_ready(job)

    def _make_ready(self, job: Job) -> None:
        job.placed = True
        heappush(self._ready, (-(job.resources.get("priority") or 0), job.id, job))

    # ---- it runs ----

    def _start_ready(self) -> None:
        while self._ready and (self._used == 0 or self._used + self._ready[0][2].cores <= self._limit):
            job = heappop(self._ready)[2]
            if self._by_id.get(job.id) is job and not job.ended:
                self._start(job)

    def _start(self, job: Job) -> None:
        try:
            pid = self._queue.submit(job.base + INPUT, command(job.base + INPUT), job.resources)
        except OSError as error:
            self._fail(job, error)
            return
        self._runs(job, pid, own=True)
        self._watch.add_process(job.id, pid)

    def _runs(self, job: Job, queue_id: int, own: bool) -> None:
        job.queue_id = queue_id
        job.own = own
        self._used += job.cores
        self._mark_started(job)

    def _mark_started(self, job: Job) -> None:
        for future in job.futures:
            future.started = True

    # ---- it ends ----

    def _finish(self, job: Job) -> None:
        """The output file is there."""
        if job.ended:
            return
        try:
            fields = read_output(job.output)
        except (CacheFileError, FileNotFoundError) as error:
            if os.path.exists(job.output):  # else it has gone again
                _logger.warning("%s; the call is computed again", error)
                remove(job.output)
            self._await_again(job)
            return
        except OSError as error:
            self._fail(job, error)
            return
        futures = self._end(job)
        for future in futures:
            future.finish(fields)

    def _await_again(self, job: Job) -> None:
        self._watch.remove(job.id)
        self._watch.add_file(job.id, job.output)
        if job.queue_id is None:
            self._examine(job)

    def _process_ended(self, job: Job, status: int | None) -> None:
        pid, job.queue_id = job.queue_id, None
        self._used -= job.cores
        if job.ended:
            self._drop(job)
        elif os.path.exists(job.output):
            self._finish(job)
        elif job.cancelled and not job.futures:
            self._clean(job)
            self._drop(job)
        elif job.cancelled or not job.own or (status is not None and os.waitstatus_to_exitcode(status) == CLAIMED):
            job.cancelled = False
            self._examine(job)
        else:
            self._fail(job, take_failure(job.base) or _lost(job, pid, status))

    def _fail(self, job: Job, error: BaseException) -> None:
        """There will be no output."""
        self._clean(job)
        for future in self._end(job):
            future.fail(error)

    def _end(self, job: Job) -> list[FileFuture]:
        """Whose futures these were is of no more interest to the job, which may still finish."""
        job.ended = True
        futures, job.futures = job.futures, []
        if job.queue_id is None:
            self._drop(job)
        return futures

    def _drop(self, job: Job) -> None:
        self._watch.remove(job.id)
        self._elsewhere.discard(job)
        self._by_id.pop(job.id, None)
        if self._by_base.get(job.base) is job:
            del self._by_base[job.base]

    def _clean(self, job: Job) -> None:
        """Remove what says that the call is to be computed, unless another driver's job is at it."""
        with suppress(OSError):
            claim = _core.read_claim(job.base)
            if claim is not None and claim[3] != "gone":
                return
            remove(job.base + INPUT)
            remove_empty_logs(job.base)
            _core.release_claim(job.base, 0 if claim is None else claim[0])

    # ---- it is not wanted any longer ----

    def _cancel(self, future: FileFuture) -> None:
        job = next((job for job in self._by_base.values() if future in job.futures), None)
        if job is None:
            return
        job.futures.remove(future)
        if job.futures:
            return
        job.cancelled = True
        self._call_off(job)

    def _call_off(self, job: Job) -> None:
        """Nobody wants the call any more."""
        if job.queue_id is not None:
            self._queue.cancel(job.queue_id)
            heappush(self._kills, (monotonic() + job.resources.get("terminate_grace", _GRACE_S), job.id))
        else:
            self._clean(job)
            self._drop(job)

    def _detach(self) -> None:
        """Leave the calls to themselves: jobs go on, and those that have not begun get a process that sees to them."""
        left = [job for job in self._by_base.values() if not job.ended and not job.cancelled]
        records = [
            {
                "base": job.base,
                "resources": job.resources,
                "cores": job.cores,
                "producers": [p._path for p in job.producers if isinstance(p, FileFuture)],
            }
            for job in left
        ]
        try:
            if any(job.queue_id is None and job not in self._elsewhere for job in left):
                _hand_over(records, self._queue, self._limit)
        finally:
            with self._lock:
                futures = list(self._futures)
            for job in left:
                self._end(job)
            self._detached.set()
        for future in futures:
            Future.cancel(future)
            future.notify_cancel()


def _write_call(path: str, fields: dict[str, bytes]) -> None:
    """Write an input file; a torn one, after a crash of the machine, is written anew as the call is submitted again."""
    from executorlib import _store

    try:
        _store.write(path, fields, sync=False)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _store.write(path, fields, sync=False)


# ---- calls of other drivers ----


def jobs_for(queue: Queue, limit: int, detaches: bool = False, temporary: bool = False) -> Jobs:
    """Jobs of the kind that this queue needs; the parameters are those of `Jobs`."""
    if isinstance(queue, LocalQueue):
        return Jobs(queue, limit, detaches, temporary)
    from executorlib._queued_jobs import QueuedJobs

    return QueuedJobs(queue, limit, detaches, temporary)


_observers: dict[str, Jobs] = {}
_observing = threading.Lock()


def awaited(base: str) -> FileFuture:
    """The future of a call that another program has submitted: done when its output file is there, or its job is gone.

    Parameters:
        base: path of the call's files without their endings.
    """
    future = FileFuture()
    future._path = base + OUTPUT
    job = Job(base, None, future, [], {}, cores=0)
    job.observed = True
    queue = _queue_of(base)
    with _observing:
        try:
            _observers[queue.kind].expect(future)
        except (KeyError, RuntimeError):  # there is none, or it has ended, or it was a parent's
            _observers[queue.kind] = jobs_for(queue, limit=1, temporary=True)
            _observers[queue.kind].expect(future)
        _observers[queue.kind].add(job)
    return future


def _queue_of(base: str) -> Queue:
    """Where this call was submitted."""
    kind = _job_record.kind(base)
    if kind is None:
        return LocalQueue()
    from executorlib._scheduler import queue_of_kind

    return queue_of_kind(kind)


def terminate(base: str, backend: str | None = None) -> None:
    """End the job of a call, if it waits or runs, and forget the call.

    Parameters:
        base: path of the call's files without their endings.
        backend: where it was submitted; None if that is not known.

    Raises:
        FileNotFoundError: if there is no such call, or it is done.
        RuntimeError: if it runs on another machine.
    """
    if not os.path.exists(base + INPUT):
        raise FileNotFoundError(2, "no call that waits or runs has this file", base + INPUT)
    claim = _core.read_claim(base)
    kind = _job_record.kind(base) or backend
    if kind in ("slurm", "flux"):
        from executorlib._queued_jobs import end_in_queue

        end_in_queue(base, kind)
    elif claim is not None and claim[3] == "elsewhere":
        raise RuntimeError(f"{base} is computed by process {claim[1]} on {claim[2]}; end it there")
    elif claim is not None and claim[3] == "lives":
        _end_process(claim[1])
    remove(base + INPUT)
    remove_empty_logs(base)
    if claim is not None:
        _core.release_claim(base, claim[0])


def _end_process(pid: int) -> None:
    """End a job's process, and return when it has; whose child it is waits for it."""
    import select

    queue = LocalQueue()
    try:
        process = os.pidfd_open(pid)
    except OSError:  # it is gone, or the kernel is older than 5.3
        queue.cancel(pid, force=True)
        return
    ended = select.poll()
    ended.register(process, select.POLLIN)
    queue.cancel(pid)
    if not ended.poll(_GRACE_S * 1000):
        queue.cancel(pid, force=True)
        ended.poll()
    os.close(process)


# ---- calls that outlive their driver ----


def _hand_over(records: list[dict[str, Any]], queue: Queue, limit: int) -> None:
    """Start the process that sees to the calls which this one leaves behind."""
    import pickle
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="executorlib-", suffix=".calls")
    with open(descriptor, "wb") as file:
        pickle.dump((records, queue, limit), file)
    code = f"import sys; sys.path[:] = {sys.path!r}; from executorlib._jobs import take_over; take_over({path!r})"
    environ = [name + b"=" + value for name, value in os.environb.items()]
    folder = os.path.dirname(records[0]["base"])
    argv = [os.fsencode(text) for text in (sys.executable, "-c", code)]
    _core.start_job(argv, environ, os.fsencode(folder), os.devnull, os.devnull)


def take_over(path: str) -> None:
    """Run the calls that another driver has left behind; the whole of such a process."""
    import pickle

    with open(path, "rb") as file:
        records, queue, limit = pickle.load(file)
    os.unlink(path)
    jobs = jobs_for(queue, limit)
    futures = {record["base"] + OUTPUT: FileFuture() for record in records}
    for record in records:
        future = futures[record["base"] + OUTPUT]
        producers: list[Future] = [futures[path] for path in record["producers"] if path in futures]
        jobs.expect(future)
        jobs.add(Job(record["base"], None, future, producers, record["resources"], record["cores"]))
    jobs.shutdown(wait=True)


# ---- errors ----


def _lost(job: Job, pid: int | None, status: int | None) -> BaseException:
    code = None if status is None else os.waitstatus_to_exitcode(status)
    info: dict[str, Any] = {
        "pid": pid,
        "host": os.uname().nodename,
        "where": f"before it had written {job.output}",
        "stderr": _tail(job),
    }
    if code is not None:
        info |= {"signal": -code} if code < 0 else {"status": code}
    if code == FAILED:
        info["reason"] = "its result could not be written" + _disk_full(job.output)
    return error_for("worker_lost", info)


def _disk_full(path: str) -> str:
    with suppress(OSError):
        disk = os.statvfs(os.path.dirname(path))
        if disk.f_bavail == 0 or disk.f_ffree == 0 < disk.f_files:
            return ": no space left on device"
    return ""


def _tail(job: Job) -> str:
    path = job.resources.get("stderr_file")
    directory = job.resources.get("cwd") or os.path.dirname(job.base)
    path = os.path.join(job.base, "err.log") if path is None else os.path.join(directory, path)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
