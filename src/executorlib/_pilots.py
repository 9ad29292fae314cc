"""Pilots: jobs of Slurm or Flux in which the persistent workers of an executor live.

    executor ── PilotFleet ── engine (fleet.h): a place for each worker, and calls
                    │              ▲
                    │              ║ TLS
                  Pilots ─ queue ──▶ job: agent (_agent.py) with one worker

Each worker has a job of its own, so that it gets what the resource dictionary asks for wherever there is room, and as
soon as there is. The engine gives calls to the agents that have come; `Pilots`, a thread, sees to it that there are
jobs: it submits them, replaces one that has ended when calls wait, and learns from the scheduler why it has ended. The
engine keeps the calls that an agent had until it is told.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
from _pickle import dumps
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic, sleep

from executorlib._cleanup import Cleanup
from executorlib._errors import error_for
from executorlib._fleet import Fleet, Share, agent_command, write_privately
from executorlib._queued_jobs import job_lost
from executorlib._scheduler import Outage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from executorlib import _core
    from executorlib._flux_queue import FluxQueue
    from executorlib._scheduler import Ending
    from executorlib._slurm_queue import SlurmQueue

_logger = logging.getLogger("executorlib")

# As many jobs in a row may end before their agents have come.
_MOST_FAILURES = 3
# Between two questions: about jobs that have not begun, at first, and about one whose agent has gone.
_FIRST_LOOK_S, _SOON_S = 1.0, 0.2
# How long the scheduler may say that a job runs whose agent has gone.
_BURIAL_S = 10.0
_OUTAGE_S = 2.0
# How long the jobs of agents that were told to go may take, before they are cancelled; and after that.
_LEAVE_S = 6.0


class Place:
    """One worker's place.

    Attributes:
        job (str | None): queue id of its job, as long as that is not known to have ended.
        since (float): when its agent was found to be gone.
        failures (int): how many jobs had failed when it was submitted.
    """

    __slots__ = ("failures", "job", "since", "unseen")

    def __init__(self) -> None:
        self.job: str | None = None
        self.since = 0.0
        self.failures = 0
        self.unseen = 0


class PilotFleet(Fleet):
    """A fleet whose agents are started by jobs.

    Parameters:
        queue: of the jobs.
        count: workers.
        resources: of each, checked.
        directory: which all nodes see; what the jobs need and write is put into a folder of its own there.
        here: whether the jobs run on this host.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(
        self, queue: SlurmQueue | FluxQueue, count: int, resources: dict[str, Any], directory: str, here: bool
    ) -> None:
        width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
        super().__init__([], [Share(width, 1)], here=here)
        self._queue = queue
        self._count = count
        self._resources = resources
        os.makedirs(directory, exist_ok=True)
        self._directory = tempfile.mkdtemp(prefix="pilots-", dir=os.path.abspath(directory))  # 0700
        self._pilots: Pilots | None = None

    shares_imports = False  # each worker is alone with its agent

    @property
    def config(self) -> tuple:
        # One call ahead: those that are ahead are lost with a job that is killed.
        return *super().config[:4], 2, *super().config[5:-1], True

    def launch(self, pool: _core.Pool, setup: bytes, **settings: Any) -> None:
        told = self.hand_over(pool, setup, settings, environ={}, pilot=True, asks=True)
        file = write_privately(told, self._directory)
        self._pilots = Pilots(pool, self._queue, agent_command(file), file, self._resources)
        try:
            self._pilots.start(self._count)
        except BaseException:
            pool.shutdown(wait=False)
            self._pilots.end()
            raise

    def kept(self, pool: _core.Pool) -> Any:
        assert self._pilots is not None
        return PilotPool(pool, self._pilots)

    def resize(self, pool: _core.Pool, count: int) -> None:
        assert self._pilots is not None
        self._pilots.resize(count)


class PilotPool:
    """A pool whose end is the end of its jobs, too."""

    def __init__(self, pool: _core.Pool, pilots: Pilots) -> None:
        self._pool = pool
        self._pilots = pilots
        self.submit = pool.submit
        self.map = pool.map

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures)
        if wait:
            self._pilots.join()

    def __len__(self) -> int:
        return len(self._pool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


class Pilots:
    """The jobs.

    Parameters:
        pool: for whose agents they are.
        queue: where they are submitted.
        command: starts an agent, with the number of its place as last argument.
        file: that this command reads, in the folder of the jobs.
        resources: of each job.
    """

    def __init__(
        self,
        pool: _core.Pool,
        queue: SlurmQueue | FluxQueue,
        command: list[str],
        file: str,
        resources: dict[str, Any],
    ) -> None:
        self._pool = pool
        self._queue = queue
        self._command = command
        self._file = file
        self._directory = os.path.dirname(file)
        self._resources = resources
        self._cleanup = Cleanup(file, queue.cancelling)
        self._lock = Lock()  # of the next two
        self._count = 0
        self._fresh: set[int] = set()
        self._places: list[Place] = []
        self._states = ""  # as last seen
        self._leaving: set[str] = set()  # jobs that are to end
        self._failures = 0
        self._failure: bytes | None = None
        self._interval = self._first_interval = min(_FIRST_LOOK_S, queue.longest_pause_s)
        self._next_look = 0.0
        self._next_submission = 0.0
        self._thread = Thread(target=self._run, name="executorlib-pilots", daemon=True)

    def start(self, count: int) -> None:
        """Submit the first jobs.

        Raises:
            subprocess.CalledProcessError: if the scheduler refuses them; `output` has its words.
            FileNotFoundError: if there is no sbatch.
            ModuleNotFoundError: if Jinja2 or pysqa is needed and missing.
        """
        self.resize(count)
        try:
            self._see("", False)
        except Outage as outage:
            self._wait_for_scheduler(outage)
        self._thread.start()

    def resize(self, count: int) -> None:
        """Set how many workers there are."""
        with self._lock:
            grown, shrunk = range(self._count, count), range(count, self._count)
            self._count = count
            self._fresh.difference_update(shrunk)
            self._fresh.update(grown)
        for number in (*grown, *shrunk):
            # The thread looks at what has changed.
            with suppress(RuntimeError):
                (self._pool.expect_agent if number < count else self._pool.dismiss_agent)(number)

    def join(self) -> None:
        """Wait until no job is left."""
        self._thread.join()

    # ---- the thread ----

    def _run(self) -> None:
        seen = 0
        try:
            while (told := self._pool.watch_agents(seen, self._timeout())) is not None:
                seen, states, wanted = told
                try:
                    self._see(states.decode("ascii"), wanted)
                except Outage as outage:
                    self._wait_for_scheduler(outage)
                except Exception as error:
                    self._fail_waiting(_dumped(error))
        finally:
            self.end()

    def _timeout(self) -> float:
        now = monotonic()
        due = [time for time in (self._next_look, self._next_submission) if time]
        return max(0.0, min(due) - now) if due else -1.0

    def _wait_for_scheduler(self, outage: Outage) -> None:
        if not self._next_submission:
            name = self._queue.kind.capitalize()
            _logger.warning("%s does not answer, trying again: %s", name, str(outage).strip())
        self._next_submission = monotonic() + _OUTAGE_S
        self._next_look = max(self._next_look, self._next_submission)

    def _see(self, states: str, wanted: bool) -> None:
        """Do what is due.

        Parameters:
            states: of the places, a letter for each: vacant, awaited, there, gone.
            wanted: whether calls wait.
        """
        self._states = states
        while len(self._places) < max(len(states), self._count):
            self._places.append(Place())
        if "t" in states and any(
            state == "t" and place.failures == self._failures
            for state, place in zip(states, self._places, strict=False)
        ):
            self._failures = 0
        self._let_go(states)
        self._ask(states)
        self._submit(states, wanted)

    def _let_go(self, states: str) -> None:
        """Have the jobs cancelled whose agents were to come to places that are not wanted any more."""
        unwanted = [
            place for number, place in enumerate(self._places)
            if number >= self._count and place.job and states[number : number + 1] == "v"
        ]  # fmt: skip
        if unwanted:
            self._queue.cancel([place.job for place in unwanted if place.job])
            for place in unwanted:
                place.job = None

    # ---- how they are ----

    def _ask(self, states: str) -> None:
        """Ask the scheduler about jobs that have not begun, or whose agents have gone."""
        now = monotonic()
        gone = [n for n, state in enumerate(states) if state == "g"]
        for number in gone:
            place = self._places[number]
            if not place.since:
                place.since = now
                self._next_look = now
        watched = [n for n, state in enumerate(states) if state == "a" and self._places[n].job] + gone
        if not watched:
            self._next_look, self._interval = 0.0, self._first_interval
            return
        if not self._next_look:
            self._next_look = now + self._interval
        if self._next_look > now:
            return
        self._interval = min(1.5 * self._interval, self._queue.longest_pause_s)
        self._next_look = now + (_SOON_S if gone else self._interval)
        jobs = {self._places[n].job or "": n for n in watched}
        told = self._queue.states(job for job in jobs if job)
        suspects = []
        for job, number in jobs.items():
            place = self._places[number]
            place.unseen = 0 if job in told else place.unseen + 1
            if not job or place.unseen > 1 or (job in told and self._queue.has_ended(told[job])):
                suspects.append(job)
        endings = self._queue.endings(job for job in suspects if job)
        for job in suspects:
            self._ended(jobs[job], states[jobs[job]], endings.get(job))
        for number in gone:
            place = self._places[number]
            if place.since and now - place.since > _BURIAL_S:
                self._ended(number, "g", None)

    def _ended(self, number: int, state: str, ending: Ending | None) -> None:
        """The job of this place has ended, or nobody knows what became of it."""
        place = self._places[number]
        job = place.job
        if job and ending is None:
            self._queue.cancel([job])
        error = self._error(job or "", ending, "before its worker had come" if state == "a" else "")
        place.job, place.since, place.unseen = None, 0.0, 0
        with suppress(RuntimeError):  # all calls have ended meanwhile
            self._pool.bury_agent(number, _dumped(error))
        if state == "a" and place.failures == self._failures:
            self._failures += 1
            self._failure = _dumped(error)

    def _error(self, job: str, ending: Ending | None, where: str) -> BaseException:
        if ending is None:
            return error_for("worker_lost", {"reason": f"its agent has gone, of which job {job} says nothing"})
        log = os.path.join(self._directory, f"{job}.log")
        return job_lost(job, ending, log, where, self._resources.get("run_time_max"))

    # ---- more of them ----

    def _submit(self, states: str, wanted: bool) -> None:
        """Submit jobs for new places, and where calls wait for those that are vacant."""
        if self._next_submission > monotonic():
            return
        self._next_submission = 0.0
        with self._lock:
            fresh, count = set(self._fresh), self._count
        vacant = [n for n, state in enumerate(states[:count]) if state == "v" and not self._places[n].job]
        if fresh:
            self._failures = 0
        elif self._failures:
            if "t" in states or "a" in states:
                vacant = []  # one that fails is not tried in many places, and not while calls run elsewhere
            elif wanted and self._failures >= _MOST_FAILURES:
                assert self._failure is not None
                self._fail_waiting(self._failure)
                return
            vacant = vacant[:1]
        chosen = sorted(fresh.union(vacant if wanted else ()))
        for row in _rows(chosen):
            self._start(row, states)
        with self._lock:
            self._fresh.difference_update(fresh)

    def _start(self, row: list[int], states: str) -> None:
        places = [n for n in row if states[n : n + 1] != "t" and states[n : n + 1] != "g" and not self._places[n].job]
        for number in places:
            with suppress(RuntimeError):  # it is expected already
                self._pool.expect_agent(number)
        for some in _rows(places):
            limit = self._queue.array_limit() if len(some) > 1 else 1
            while some:
                now, some = some[:limit], some[limit:]
                jobs = self._queue.submit_agents(self._command, now, self._directory, self._resources)
                self._cleanup.add_jobs(jobs)
                for number, job in zip(now, jobs, strict=True):
                    self._places[number].job = job
                    self._places[number].failures = self._failures
        self._interval = self._first_interval
        self._next_look = monotonic() + self._interval

    def _fail_waiting(self, failure: bytes) -> None:
        """No job comes to anything. Calls that are submitted later are worth another try, with one job."""
        self._failures, self._failure = 1, failure
        with suppress(RuntimeError):  # all calls have ended meanwhile
            self._pool.fail_waiting(failure)

    # ---- the end ----

    def end(self) -> None:
        """No agents are needed any more: see that their jobs end, and tidy up."""
        with suppress(OSError):
            os.unlink(self._file)  # an agent that starts now ends at once
        came = {place.job for place, state in zip(self._places, self._states, strict=False) if state in "tg"}
        left = {place.job for place in self._places if place.job}
        began, cancelled = monotonic(), False
        try:
            self._queue.cancel(job for job in left - came if job)
            while left and monotonic() - began < 2 * _LEAVE_S:
                if not cancelled and monotonic() - began > _LEAVE_S:
                    cancelled = True
                    self._queue.cancel(job for job in left if job)
                told = self._queue.states(job for job in left if job)
                left = {job for job in left if job in told and not self._queue.has_ended(told[job])}
                if left:
                    sleep(_SOON_S / 2)
        except (Outage, OSError, subprocess.CalledProcessError):
            pass
        if left:
            self._cleanup.leave()  # which goes on trying
            return
        self._cleanup.done()
        for name in os.listdir(self._directory):
            path = os.path.join(self._directory, name)
            with suppress(OSError):
                if name.endswith(".log") and os.path.getsize(path) == 0:
                    os.unlink(path)
        with suppress(OSError):
            os.rmdir(self._directory)


def _rows(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Sorted numbers in rows without gaps."""
    row: list[int] = []
    for number in numbers:
        if row and number != row[-1] + 1:
            yield row
            row = []
        row.append(number)
    if row:
        yield row


def _dumped(error: BaseException) -> bytes:
    return dumps((error, ""), 5)
