"""The calls of a file executor whose jobs a scheduler holds.

    ready  --a few ms, with others like it-->  submitted  -->  the scheduler says it has ended  -->  output, or an error
                                                  │
                                                  └── output file there  -->  futures done

Calls are submitted before those they depend on have ended; the scheduler starts them in order, so the driver may go.
A file that appears is all it takes to end a call. The scheduler is asked ever less often, with one query for all, in
order to learn of jobs that died; as long as it does not answer, or knows less than expected, nothing has happened.

The scheduler's commands run in threads of their own, so that none of them keeps a result waiting.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from functools import partial
from threading import Event, Lock, Thread
from time import monotonic

from executorlib import _core, _job_record
from executorlib._errand import Errands
from executorlib._errors import error_for
from executorlib._job import CLAIMED, ENDED, INPUT, OUTPUT, remove, remove_empty_logs, take_failure
from executorlib._jobs import _TAIL, Job, Jobs, _logger
from executorlib._local_queue import LocalQueue
from executorlib._scheduler import NEVER, Outage, queue_of_kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from executorlib._file_future import FileFuture
    from executorlib._flux_queue import FluxQueue
    from executorlib._scheduler import Ending
    from executorlib._slurm_queue import SlurmQueue

# Calls are collected for this long since the last one, and since the first one.
_COLLECT_S, _COLLECT_LONGEST_S = 0.005, 0.1
# Between two queries: from the first to the last, unless the queue is asked more often.
_FIRST_LOOK_S, _LAST_LOOK_S = 1.0, 30.0
_SOON_S = 0.2
# How long after a job's end its output may appear: on network file systems late, if it was written at all.
_GRACE_FAILED_S, _GRACE_COMPLETED_S = 1.0, 10.0
_OUTAGE_S = 2.0  # between two attempts to submit
_MARK = 1 << 40  # added to a job's id: the file that its script leaves when it is lost


class QueuedJobs(Jobs):
    """Runs calls as jobs of a scheduler.

    The parameters are those of `Jobs`. A limit counts jobs that wait in the queue, too; 0 leaves it to the scheduler.
    """

    def __init__(
        self, queue: SlurmQueue | FluxQueue, limit: int, detaches: bool = False, temporary: bool = False
    ) -> None:
        super().__init__(queue, limit, detaches, temporary)
        self._submissions = Errands("executorlib-submit")
        self._inquiries = Errands("executorlib-inquire")
        self._leaving = Event()
        self._silent = False  # the scheduler, when something was last submitted
        # What follows is the thread's own.
        self._fresh: list[Job] = []
        self._fresh_since = self._fresh_latest = 0.0
        self._submitting = 0  # batches
        self._held: list[Job] = []  # back, by the limit
        self._sent: set[Job] = set()  # of a limited executor, those submitted that have not ended
        self._queued: dict[str, Job] = {}
        self._unseen: dict[str, int] = {}
        self._unwanted: dict[str, Job] = {}
        self._suspected: list[Job] = []
        self._searched: set[Job] = set()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._next_look: float | None = None
        self._interval = _FIRST_LOOK_S
        self._looking = False

    # ---- the thread ----

    def _run(self) -> None:
        try:
            super()._run()
        finally:
            self._submissions.close()
            self._inquiries.close()

    def _timeout_ms(self) -> int:
        due = [time for time, _ in self._timers]
        if self._fresh and self._submitting == 0:
            due.append(self._flush_time())
        if self._next_look is not None and self._queued and not self._looking:
            due.append(self._next_look)
        ours = max(0, int((min(due) - monotonic()) * 1000) + 1) if due else -1
        others = super()._timeout_ms()
        return max(ours, others) if -1 in (ours, others) else min(ours, others)

    def _do_what_is_due(self) -> None:
        super()._do_what_is_due()
        now = monotonic()
        due = [timer for timer in self._timers if timer[0] <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        for _, action in due:
            action()
        if self._suspected:
            self._search()
        if self._unwanted:
            self._end_unwanted()
        if self._queued and not self._looking and self._next_look is not None and self._next_look <= now:
            self._look()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append((monotonic() + seconds, action))

    def _is_open(self, job: Job) -> bool:
        return self._by_id.get(job.id) is job and not job.ended

    # ---- a call comes ----

    def _examine(self, job: Job) -> None:
        self._elsewhere.discard(job)
        queue_id = _job_record.read(job.base)
        if queue_id is None:
            super()._examine(job)
        else:
            self._follow(job, queue_id, own=False)

    def _prepare(self, job: Job) -> None:
        if os.path.exists(job.base + INPUT) and job not in self._searched:
            # A driver may have been killed between the submission and the record of it.
            self._searched.add(job)
            self._suspected.append(job)
        else:
            super()._prepare(job)

    def _search(self) -> None:
        """See which of the calls, whose input files are there already, have jobs."""
        jobs, self._suspected = self._suspected, []

        def search() -> None:
            try:
                found = self._queue.find([job.base for job in jobs])
            except (Outage, OSError, subprocess.CalledProcessError):
                self.post(lambda: self._after(_OUTAGE_S, lambda: self._suspected.extend(jobs)))
            else:
                self.post(lambda: self._searched_for(jobs, found))

        self._inquiries.add(search)

    def _searched_for(self, jobs: list[Job], found: dict[str, str]) -> None:
        for job in jobs:
            if self._is_open(job):
                if job.base in found:
                    _job_record.make(job.base, self._queue.kind, found[job.base])
                self._examine(job)

    def _may_be_placed(self, job: Job) -> bool:
        return all(producer.done() or self._job_of(producer) is not None for producer in job.producers)

    def _job_of(self, producer: Any) -> Job | None:
        """The job to depend on: one that this driver has submitted, or is about to."""
        path = getattr(producer, "_path", None)
        job = None if path is None else self._by_base.get(path[: -len(OUTPUT)])
        return job if job is not None and (job.placed or job.queue_id is not None) else None

    # ---- submission ----

    def _make_ready(self, job: Job) -> None:
        job.placed = True
        self._sent.discard(job)
        self._fresh_latest = monotonic()
        if not self._fresh:
            self._fresh_since = self._fresh_latest
            self._submissions.add(self._prepare_to_submit)
        self._fresh.append(job)

    def _prepare_to_submit(self) -> None:
        """In the thread of submissions: ask while calls are being collected."""
        with suppress(Outage, OSError, subprocess.CalledProcessError):
            self._queue.array_limit()

    def _flush_time(self) -> float:
        return min(self._fresh_latest + _COLLECT_S, self._fresh_since + _COLLECT_LONGEST_S)

    def _start_ready(self) -> None:
        if self._held and self._occupied() < self._limit:
            self._fresh, self._held = self._held + self._fresh, []
        # While commands are under way more is collected, for fewer of them.
        if self._fresh and self._submitting == 0 and self._flush_time() <= monotonic():
            self._flush()

    def _flush(self) -> None:
        """Submit what has been collected: equal calls as one array, and each after those it depends on."""
        jobs, self._fresh = [job for job in self._fresh if self._is_open(job) and not job.cancelled], []
        jobs.sort(key=lambda job: -(job.resources.get("priority") or 0))
        if self._limit:
            jobs = self._within_limit(jobs)
        levels: dict[Job, int] = {}
        groups: dict[Any, list[Job]] = {}
        parents = {job: self._parents(job) for job in jobs}

        def level(job: Job) -> int:
            if job not in levels:
                levels[job] = 1 + max((level(parent) for parent in parents[job] if parent in parents), default=0)
            return levels[job]

        for job in sorted(jobs, key=lambda job: job.id):  # a producer has the smaller id, so this does not recurse far
            level(job)
        for job in jobs:
            group = self._queue.group(job.resources)
            alone = (job.id,) if group is None or "\n" in job.base else ()
            names = tuple(parent.id for parent in parents[job])
            groups.setdefault((levels[job], alone, group, names), []).append(job)
        for level_number in sorted(set(levels.values())):
            batch = [(jobs, parents[jobs[0]]) for key, jobs in groups.items() if key[0] == level_number]
            self._submitting += 1
            self._submissions.add(partial(self._submit, batch))

    def _occupied(self) -> int:
        """Cores that the submitted jobs are counted with."""
        self._sent = {job for job in self._sent if self._is_open(job)}
        return sum(job.cores for job in self._sent)

    def _within_limit(self, jobs: list[Job]) -> list[Job]:
        """Those to submit now; the others are held back until some of them have ended."""
        used = self._occupied()
        now = []
        for job in jobs:
            if used == 0 or used + job.cores <= self._limit:
                used += job.cores
                now.append(job)
            else:
                self._held.append(job)
        self._sent.update(now)
        return now

    def _parents(self, job: Job) -> list[Job]:
        found = (self._job_of(producer) for producer in job.producers if not producer.done())
        return sorted({parent for parent in found if parent is not None}, key=lambda parent: parent.id)

    def _submit(self, batch: list[tuple[list[Job], list[Job]]]) -> None:
        """In the thread of submissions: submit groups, each with what it depends on.

        Much of the time of a command is spent waiting, so two are under way at once.
        """
        left = iter(batch)
        lock = Lock()

        def submit_some() -> None:
            while True:
                with lock:
                    group = next(left, None)
                if group is None:
                    return
                self._submit_all(*group)

        helper = Thread(target=submit_some, name="executorlib-submit-2", daemon=True)
        if len(batch) > 1:
            helper.start()
        submit_some()
        if len(batch) > 1:
            helper.join()
        self.post(self._batch_done)

    def _batch_done(self) -> None:
        self._submitting -= 1

    def _submit_all(self, jobs: list[Job], parents: list[Job]) -> None:
        """Submit one group, trying again while the scheduler does not answer."""
        while jobs and not (self._silent and self._leaving.is_set()):
            try:
                limit = self._queue.array_limit() if len(jobs) > 1 else 1
                some, rest = jobs[:limit], jobs[limit:]
                self._submit_some(some, parents)
                self._silent = False
                jobs = rest
            except Outage as outage:
                if not self._silent:
                    _logger.warning("cannot submit, trying again: %s", str(outage).strip())
                self._silent = True
                self._leaving.wait(_OUTAGE_S)
            except subprocess.CalledProcessError as error:
                if parents and "dependency" in str(error.output):  # the job they depend on has been forgotten
                    self._keep(jobs)
                else:
                    self.post(partial(self._refused, jobs, error))
                return
            except Exception as error:
                self.post(partial(self._refused, jobs, error))
                return

    def _submit_some(self, jobs: list[Job], parents: list[Job]) -> None:
        dependencies = [parent.queue_id for parent in parents if not parent.ended]
        if None in dependencies:  # another driver has it, or it could not be submitted
            self._keep(jobs)
            return
        for job in jobs:
            remove(job.base + ENDED)
        numbers = self._queue.submit([job.base for job in jobs], jobs[0].resources, dependencies)
        made = _job_record.make_all([job.base for job in jobs], self._queue.kind, numbers)
        late = []
        for job, number, first in zip(jobs, numbers, made, strict=True):
            if first:
                job.queue_id = number
            else:
                late.append(number)
        if late:
            self._queue.cancel(late)
        self.post(lambda: self._submitted(jobs))

    def _keep(self, jobs: list[Job]) -> None:
        """In the thread of submissions: these cannot be submitted before those they depend on have ended."""

        def keep() -> None:
            for job in jobs:
                job.placed = False
                if self._is_open(job) and job.missing == 0:
                    self._make_ready(job)

        self.post(keep)

    def _submitted(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not self._is_open(job):
                _job_record.remove(job.base)
            elif job.queue_id is not None:
                self._follow(job, job.queue_id, own=True)
            else:
                self._examine(job)

    def _refused(self, jobs: list[Job], error: Exception) -> None:
        for job in jobs:
            if self._is_open(job) and not job.cancelled:
                self._fail(job, error)
            elif self._by_id.get(job.id) is job:
                self._leave(job)

    # ---- in the queue ----

    def _follow(self, job: Job, queue_id: str, own: bool) -> None:
        """A job has been submitted, here or by another driver: wait for its output, or its end."""
        job.queue_id, job.own = queue_id, own
        if job.cancelled:
            self._unwanted[queue_id] = job
            return
        self._queued[queue_id] = job
        with suppress(OSError):
            self._watch.add_file(job.id + _MARK, job.base + ENDED)
        self._look_in(min(_FIRST_LOOK_S, self._queue.longest_pause_s))
        if os.path.exists(job.output):
            self._finish(job)

    def _look_in(self, seconds: float) -> None:
        when = monotonic() + seconds
        if self._next_look is None or when < self._next_look:
            self._next_look = when
        self._interval = min(self._interval, seconds)

    def _look(self) -> None:
        self._looking = True
        asked = list(self._queued)

        def look() -> None:
            began = monotonic()
            try:
                told = self._queue.states(asked)
            except (Outage, OSError, subprocess.CalledProcessError):
                told = None
            took = monotonic() - began
            self.post(lambda: self._looked(asked, told, took))

        self._inquiries.add(look)

    def _looked(self, asked: list[str], told: dict[str, str] | None, took: float) -> None:
        self._looking = False
        self._interval = min(1.5 * self._interval, _LAST_LOOK_S, self._queue.longest_pause_s)
        self._next_look = monotonic() + max(self._interval, self._queue.pause_share * took)
        if told is None:
            return
        suspects = []
        for queue_id in asked:
            job = self._queued.get(queue_id)
            state = told.get(queue_id)
            if job is None:
                continue
            if state is None:
                self._unseen[queue_id] = self._unseen.get(queue_id, 0) + 1
                if self._unseen[queue_id] >= 2:
                    suspects.append(queue_id)
                continue
            self._unseen.pop(queue_id, None)
            if self._queue.has_ended(state):
                suspects.append(queue_id)
            elif state == "RUNNING":
                self._mark_started(job)
        if suspects:
            self._inquire(suspects)

    def _inquire(self, suspects: list[str]) -> None:
        """Ask how these jobs have ended."""

        def inquire() -> None:
            with suppress(Outage, OSError, subprocess.CalledProcessError):  # they are asked about again
                endings = self._queue.endings(suspects)
                self.post(lambda: self._ended_in_queue(endings))

        self._inquiries.add(inquire)

    def _ended_in_queue(self, endings: dict[str, Ending]) -> None:
        for queue_id, ending in endings.items():
            job = self._queued.pop(queue_id, None)
            self._unseen.pop(queue_id, None)
            if job is None:
                continue
            patient = ending.state == "COMPLETED" or ending.reason == NEVER
            self._after(
                _GRACE_COMPLETED_S if patient else _GRACE_FAILED_S,
                partial(self._bury, job, ending),
            )

    # ---- it ends ----

    def _file_appeared(self, identity: int) -> None:
        if identity < _MARK:
            super()._file_appeared(identity)
        elif identity - _MARK in self._by_id:
            self._look_in(_SOON_S)

    def _bury(self, job: Job, ending: Ending) -> None:
        """Its job has ended, and there is no output."""
        if not self._is_open(job):
            return
        with suppress(OSError):
            os.listdir(os.path.dirname(job.base))  # makes a network file system look anew
        if os.path.exists(job.output):
            self._finish(job)
            if not self._is_open(job):
                return
        failure = take_failure(job.base)
        queue_id, own = job.queue_id, job.own
        self._forget_in_queue(job)
        withdrawn = ending.state == "FAILED" and ending.status == CLAIMED
        if job.observed or (own and not withdrawn):
            self._fail(job, failure or _lost(job, queue_id, ending))
        else:
            self._examine(job)

    def _forget_in_queue(self, job: Job) -> None:
        """No job has the call any longer: not as far as the scheduler knows, which the files must not contradict."""
        job.queue_id, job.placed = None, False
        self._watch.remove(job.id + _MARK)
        with suppress(OSError):
            claim = _core.read_claim(job.base)
            if claim is not None and claim[3] != "lives":
                _core.release_claim(job.base, claim[0])
        remove(job.base + ENDED)
        _job_record.remove(job.base)

    def _fail(self, job: Job, error: BaseException) -> None:
        if isinstance(job.queue_id, str):
            self._unwanted[job.queue_id] = job
        super()._fail(job, error)

    def _finish(self, job: Job) -> None:
        super()._finish(job)
        if job.ended:  # its job is about to do the same
            remove(job.base + INPUT)
            _job_record.remove(job.base)

    def _end(self, job: Job) -> list[FileFuture]:
        self._queued.pop(job.queue_id, None)
        futures = super()._end(job)
        if job.queue_id not in self._unwanted:
            self._drop(job)
        return futures

    def _drop(self, job: Job) -> None:
        self._searched.discard(job)
        self._watch.remove(job.id + _MARK)
        super()._drop(job)

    # ---- it is not wanted any longer ----

    def _call_off(self, job: Job) -> None:
        if isinstance(job.queue_id, int):  # a process of this machine has the call
            LocalQueue().cancel(job.queue_id)
            self._leave(job)
        elif job.queue_id is not None:
            self._queued.pop(job.queue_id, None)
            self._unwanted[job.queue_id] = job
        elif job in self._fresh or job in self._held or not job.placed:
            self._leave(job)

    def _end_unwanted(self) -> None:
        """Have jobs cancelled, with one command."""
        jobs, self._unwanted = self._unwanted, {}

        def cancel() -> None:
            try:
                self._queue.cancel(jobs)
            except (Outage, OSError):
                self.post(lambda: self._after(_OUTAGE_S, lambda: self._unwanted.update(jobs)))
            else:
                self.post(lambda: self._leave_all(jobs.values()))

        self._inquiries.add(cancel)

    def _leave_all(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._leave(job)

    def _leave(self, job: Job) -> None:
        """It is cancelled; somebody may have asked for the call once more."""
        if self._by_id.get(job.id) is not job:
            return
        self._forget_in_queue(job)
        wanted, job.cancelled = bool(job.futures), False
        if wanted and not job.ended:
            self._examine(job)
            return
        remove(job.base + INPUT)
        remove_empty_logs(job.base)
        _job_record.remove(job.base)
        self._drop(job)

    def _detach(self) -> None:
        self._leaving.set()
        self._flush()
        self._submissions.finish()
        while self._messages:
            self._messages.popleft()()
        super()._detach()


def end_in_queue(base: str, kind: str) -> None:
    """End the job of a call that any driver has submitted.

    Parameters:
        base: path of the call's files without their endings.
        kind: of the queue.

    Raises:
        RuntimeError: if the scheduler does not answer.
    """
    queue = queue_of_kind(kind)
    queue_id = _job_record.read(base)
    try:
        found = queue.find([base]) if queue_id is None else {base: queue_id}
        queue.cancel(found.values())
    except Outage as outage:
        raise RuntimeError(f"the job of {base} cannot be ended: {outage}") from None
    remove(base + ENDED)
    _job_record.remove(base)


_NOT_STARTED = "because a job it depends on has failed, "


def _lost(job: Job, queue_id: str, ending: Ending) -> BaseException:
    where = (_NOT_STARTED if ending.reason == NEVER else "") + f"before it had written {job.output}"
    return job_lost(queue_id, ending, os.path.join(job.base, "err.log"), where, job.resources.get("run_time_max"))


def job_lost(queue_id: str, ending: Ending, log: str, where: str, seconds: float | None) -> BaseException:
    """The exception for what ran in a job that has ended.

    Parameters:
        queue_id: of the job.
        ending: what the scheduler says.
        log: its error output, unless the scheduler names another file.
        where: when it ended: "before …", or nothing.
        seconds: its time limit.
    """
    log = ending.log if os.path.isabs(ending.log) else log
    info: dict[str, Any] = {
        "job_id": queue_id,
        "reason": ending.state,
        "host": ending.nodes or None,
        "note": "" if ending.reason in ("None", NEVER) or ending.state == ending.reason else ending.reason,
        "where": where,
        "stderr": _end_of_log(log),
        "seconds": seconds,
    }
    info |= {"log": log} if os.path.exists(log) else {}
    info |= {"signal": ending.signal} if ending.signal else {"status": ending.status} if ending.status else {}
    return error_for("job_lost", info)


def _end_of_log(path: str) -> str:
    """The end of a log, "" if there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
