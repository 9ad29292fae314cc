"""What calls as jobs do under any scheduler: a class of tests, for the folder of each scheduler.

A module that derives from it has these fixtures: `cluster`, the scheduler, as `flux_instance/cluster.py` and
`slurm/cluster.py` have it; `cache`, a folder; `make`, which makes executors with this cache; and `exe`, one of them.
"""

import os
import time

import file_functions
import functions
import pytest
import support
from beds.waiting import until
from support import SOON, needs_mpi

from executorlib import (
    _job_record,
    get_cache_data,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_task_in_cache,
    terminate_tasks_in_cache,
)
from executorlib.api import JobLostError


def submitted(future):
    """The queue id of a call."""
    return until(lambda: _job_record.read(str(future._path).removesuffix("_o.h5")), SOON, "the submission")


def names(cache):
    return sorted(os.listdir(cache)) if cache.exists() else []


def greeting():
    return os.environ["GREETING"], os.getcwd()


def greeting_after(told):
    return os.environ["GREETING"], told[0]


def pysqa_configuration(cluster, folder, template):
    """A folder with a configuration of pysqa, whose queue `main` has this template."""
    (folder / "queue.yaml").write_text(
        f"queue_type: {cluster.kind.upper()}\nqueue_primary: main\n"
        "queues:\n  main: {cores_max: 4, cores_min: 1, run_time_max: 600, script: main.sh}\n"
    )
    (folder / "main.sh").write_text(template)
    return str(folder)


#: A program with two calls, of which the second waits for the first, and the first at a gate.
DRIVER = """
    import sys, functions, file_functions
    import executorlib

    exe = getattr(executorlib, sys.argv[2])(cache_directory="cache", wait=False)
    first = exe.submit(functions.pass_gate, sys.argv[1], 7, resource_dict={"cache_key": "first"})
    second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
    print("submitted", flush=True)
    sys.stdin.readline()
    exe.shutdown()
    print("closed", first.cancelled(), second.cancelled(), flush=True)
"""


class QueueSuite:
    template: str  # of a submission, which sets the variable GREETING

    # ---- calls ----

    def test_calls_of_all_kinds(self, exe, cluster, cache):
        first = exe.submit(file_functions.add, 1, 2, resource_dict={"cache_key": "three"})
        second = exe.submit(file_functions.total, [first, 4])
        squares = exe.map(pow, range(4), [2] * 4)
        resources = {"threads_per_core": cluster.cores, "cache_key": "wide"}
        wide = exe.submit(file_functions.describe, resource_dict=resources)
        failed = exe.submit(file_functions.fail, "no luck", resource_dict={"cache_key": "failed"})
        after_failure = exe.submit(file_functions.add, failed, 1, resource_dict={"cache_key": "after"})
        assert second.result(SOON) == 7
        assert list(squares) == [0, 1, 4, 9]
        told = wide.result(SOON)
        assert (told["threads"], told["cwd"]) == (str(cluster.cores), str(cache / "wide"))
        for future in (failed, after_failure):
            with pytest.raises(ValueError, match="no luck"):
                future.result(SOON)
        exe.shutdown()
        entries = {os.path.basename(entry["filename"]): entry for entry in get_cache_data(str(cache))}
        assert isinstance(entries["three_o.h5"]["queue_id"], int)
        assert {entry["status"] for entry in get_cache_data_queue(str(cache), cluster.kind)} == {"finished"}
        assert "after_o.h5" not in entries
        assert not [name for name in names(cache) if name.endswith((".job", ".ended", "_i.h5"))]

    def test_the_folder_of_a_call_has_its_script_and_logs(self, exe, cluster, cache):
        future = exe.submit(print, "heard", resource_dict={"cache_key": "k", **cluster.held})
        number = submitted(future)
        (entry,) = get_cache_data(str(cache))
        assert entry["queue_id"] == int(number) and entry["function"] is print
        assert cluster.jobs() == {number: "PENDING"}
        assert (cache / "k" / "run_queue.sh").read_text().startswith("#!/bin/sh")
        cluster.release(number)
        assert future.result(SOON) is None
        exe.shutdown()
        until(lambda: (cache / "k" / "out.log").read_text() == "heard\n", SOON, "the log")

    @needs_mpi
    def test_mpi_ranks(self, exe, cluster):
        if cluster.cores < 2:
            pytest.skip("needs nodes of two cores")
        future = exe.submit(file_functions.rank_and_size, resource_dict={"cores": 2})
        assert future.result(2 * SOON) == [(0, 2), (1, 2)]

    def test_template_and_its_variables(self, exe, cache, recwarn):
        pytest.importorskip("jinja2")
        resources = {
            "submission_template": self.template, "partition": "main", "greeting": "hello", "cores": 1,
            "run_time_max": 90, "cache_key": "greet", "cwd": cache / "place",
        }  # fmt: skip
        future = exe.submit(greeting, resource_dict=resources)
        assert [warning.category for warning in recwarn] == [UserWarning]
        assert future.result(2 * SOON) == ("hello 0 90", str(cache / "place"))
        assert "--job-name=greet" in (cache / "greet" / "run_queue.sh").read_text()

    def test_pysqa_configuration(self, make, cluster, tmp_path, recwarn):
        cluster.require_pysqa()
        exe = make(pysqa_config_directory=pysqa_configuration(cluster, tmp_path, self.template))
        resources = {"partition": "main", "greeting": "hello", "run_time_max": 90}
        first = exe.submit(greeting, resource_dict=resources)
        second = exe.submit(greeting_after, first, resource_dict=resources)
        assert first.result(2 * SOON)[0] == "hello 0 90"
        assert second.result(2 * SOON) == ("hello 1 90", "hello 0 90")

    # ---- ends of jobs ----

    def test_a_cancelled_job_takes_its_dependents_along(self, exe, cluster):
        first = exe.submit(time.sleep, 60, resource_dict={"cache_key": "first"})
        second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
        number, later = submitted(first), submitted(second)
        cluster.cancel(number)
        for future in (first, second):
            with pytest.raises(JobLostError, match="CANCELLED") as caught:
                future.result(SOON)
            assert caught.value.job_id == number
        until(lambda: later not in cluster.jobs(), SOON, "the dependent job to go")

    # ---- drivers ----

    @pytest.mark.parametrize("end", ["closed", "killed"])
    def test_a_later_driver_finds_the_jobs_of_an_earlier_one(self, make, cluster, cache, tmp_path, gate, end):
        with support.Driver(tmp_path, DRIVER, gate.folder, cluster.executor_class.__name__) as driver:
            driver.expect("submitted")
            gate.arrival()
            until((cache / "second.job").is_symlink, SOON, "the second submission")
            if end == "closed":
                driver.say()
                assert driver.expect("closed") == "True True"
        before = set(cluster.jobs())
        assert len(before) == 2
        statuses = {entry["status"] for entry in get_cache_data_queue(str(cache), queue_type=cluster.kind)}
        assert statuses == {"running", "pending"}
        exe = make()
        first = exe.submit(functions.pass_gate, gate.folder, 7, resource_dict={"cache_key": "first"})
        second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
        third = get_future_from_cache(str(cache), "second")
        with pytest.raises(TimeoutError):
            first.result(0.5)
        assert set(cluster.jobs()) == before
        gate.open()
        assert first.result(SOON) == 7
        assert second.result(SOON) == third.result(SOON) == 8

    def test_a_job_whose_record_was_never_made_is_found(self, make, cluster, cache):
        resources = {"cache_key": "k", **cluster.held}
        first = make(wait=False)
        number = submitted(first.submit(abs, -4, resource_dict=resources))
        first.shutdown()
        os.unlink(cache / "k.job")
        second = make().submit(abs, -4, resource_dict=resources)
        assert submitted(second) == number
        cluster.release(number)
        assert second.result(SOON) == 4

    def test_terminate_calls_in_the_cache(self, make, cluster, cache):
        exe = make(wait=False)
        futures = [exe.submit(time.sleep, 60 + i, resource_dict={"cache_key": f"k{i}"}) for i in range(3)]
        jobs = [submitted(future) for future in futures]
        exe.shutdown()
        terminate_task_in_cache(str(cache), "k1", backend=cluster.kind)
        until(lambda: jobs[1] not in cluster.jobs(), SOON, "the job to go")
        assert {jobs[0], jobs[2]} <= set(cluster.jobs())
        terminate_tasks_in_cache(str(cache), backend=cluster.kind)
        until(lambda: not cluster.jobs(), SOON, "the jobs to go")
        assert [name for name in names(cache) if name.endswith((".h5", ".job"))] == []
