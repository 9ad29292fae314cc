"""What the queues of schedulers (_slurm_queue.py, _flux_queue.py) say in common.

A queue has, beside `kind` and `holds` (_local_queue.py), `longest_pause_s`, the most seconds between two queries for
the states of jobs; `pause_share`, how many times as long as the last query the next pause is at least; `cancelling`,
the command of a shell that cancels the jobs in its variable `jobs`; and the methods of `SlurmQueue`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class Ending(NamedTuple):
        """How a job ended.

        Attributes:
            state: COMPLETED, FAILED, CANCELLED, TIMEOUT, OUT_OF_MEMORY, NODE_FAIL, PREEMPTED, or another word of the
                scheduler's; UNKNOWN if it knows nothing of the job any more.
            reason: in the scheduler's words; of a job that never ran, why it waited last.
            status: exit status of its script.
            signal: that ended its script, or 0.
            nodes: where it ran.
            log: the file that its error output went to, if that is known.
        """

        state: str
        reason: str
        status: int
        signal: int
        nodes: str
        log: str

else:
    from collections import namedtuple

    Ending = namedtuple("Ending", "state reason status signal nodes log")


# The reason of a job that was never started since one that it depends on has failed.
NEVER = "DependencyNeverSatisfied"


class Outage(Exception):
    """The scheduler does not answer; it may later."""


def queue_of_kind(kind: str) -> Any:
    """The queue that records and `backend=` name so: "slurm" or "flux"."""
    if kind == "flux":
        from executorlib._flux_queue import FluxQueue

        return FluxQueue()
    from executorlib._slurm_queue import SlurmQueue

    return SlurmQueue()
