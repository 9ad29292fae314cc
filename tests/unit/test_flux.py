"""What is made for Flux, and of what it says, without one."""

import json
import os
import socket
import subprocess
import time

import pytest

from executorlib import (
    FluxClusterExecutor,
    FluxJobExecutor,
    _flux,
    _flux_fleet,
    _flux_launcher,
    _flux_queue,
    _flux_sets,
    _flux_steps,
    get_cache_data_queue,
)
from executorlib._job import job_number
from executorlib._resources import Request
from executorlib._scheduler import NEVER

R = """{"version": 1, "execution": {"R_lite": [
    {"rank": "0-1,3", "children": {"core": "0-3", "gpu": "0,1"}}, {"rank": "2", "children": {"core": "0,2"}},
    {"rank": "4", "children": {"gpu": "0"}}], "starttime": 0.0, "expiration": 0.0, "nodelist": ["n[0-4]"]}}"""


@pytest.mark.parametrize("text, numbers", [("", []), ("4", [4]), ("0-2,7", [0, 1, 2, 7]), ("0,2-3", [0, 2, 3])])
def test_sets_of_ids(text, numbers):
    assert list(_flux_sets.numbers(text)) == numbers


@pytest.mark.parametrize(
    "text, number",
    [("ƒ2JJaXCs", 49425678336), ("ƒ3UwDGrj\n", 94472503296), ("f3UwDGrj", 94472503296), ("17", 17), ("ƒ1", 0)],
)
def test_job_ids(text, number):
    assert job_number(text) == number


def test_nodes_of_a_resource_set():
    assert _flux.read_resources(R) == [(0, 4, 2), (1, 4, 2), (2, 2, 0), (3, 4, 2)]


def test_the_specification_of_a_job():
    told = _flux.jobspec(
        ["run", "this"], cores=3, gpus=1, nodes=2, tasks=4, exclusive=True, environ={"A": "b"}, cwd="/there", name="me",
        duration=1.5, queue="debug", output={"stdout": "/there/{{id}}"}, dependencies=["17"], options={"pmi": "off"},
        notes={"of": "mine"},
    )  # fmt: skip
    assert told["resources"] == [
        {
            "type": "node",
            "count": 2,
            "exclusive": True,
            "with": [
                {
                    "type": "slot",
                    "count": 2,
                    "label": "task",
                    "with": [{"type": "core", "count": 3}, {"type": "gpu", "count": 1}],
                }
            ],
        }
    ]
    assert told["tasks"] == [{"command": ["run", "this"], "slot": "task", "count": {"per_slot": 1}}]
    system = told["attributes"]["system"]
    assert (system["duration"], system["cwd"], system["environment"], system["queue"]) == (
        1.5, "/there", {"A": "b"}, "debug"
    )  # fmt: skip
    assert system["dependencies"] == [{"scheme": "afterok", "value": "17"}]
    assert system["shell"]["options"]["pmi"] == "off"
    assert told["attributes"]["user"] == {"of": "mine"}
    uneven = _flux.jobspec(["run"], cores=1, nodes=2, tasks=3, environ={}, cwd="/", name="me")
    assert uneven["resources"][0]["with"][0]["count"] == 2
    assert uneven["tasks"][0]["count"] == {"total": 3}
    plain = _flux.jobspec(["run"], cores=2, environ={}, cwd="/", name="me")
    assert plain["resources"] == [{"type": "slot", "count": 1, "label": "task", "with": [{"type": "core", "count": 2}]}]
    assert "user" not in plain["attributes"]


@pytest.mark.parametrize(
    "text, names",
    [
        ("", []),
        ("n1", ["n1"]),
        ("a,b", ["a", "b"]),
        ("n[0-2,7]", ["n0", "n1", "n2", "n7"]),
        ("login,n[08-10]-ib,x", ["login", "n08-ib", "n09-ib", "n10-ib", "x"]),
        ("a[1-2],b[3]", ["a1", "a2", "b3"]),
    ],
)
def test_lists_of_hosts(text, names):
    assert list(_flux_sets.hosts(text)) == names


def test_part_of_a_resource_set():
    part = _flux_sets.part_of(R, [3, 0], 2, 1)["execution"]
    assert part["nodelist"] == ["n0", "n3"]
    assert part["R_lite"] == [
        {"rank": "0", "children": {"core": "0,1", "gpu": "0"}},
        {"rank": "3", "children": {"core": "0,1", "gpu": "0"}},
    ]
    assert _flux_sets.part_of(R, [2], 2, 0)["execution"]["R_lite"] == [{"rank": "2", "children": {"core": "0,2"}}]


NODES = [_flux.Node(0, 4, 2), _flux.Node(1, 4, 2), _flux.Node(2, 2, 0)]


@pytest.fixture
def places(monkeypatch):
    """Makes the places of an executor in an instance of three nodes, of which so many cores are free."""
    monkeypatch.setattr(_flux, "all_nodes", lambda: NODES)
    monkeypatch.setattr(_flux_steps, "_load_plugin", lambda: None)
    monkeypatch.setenv("FLUX_URI", "local:///there")

    def make(resources, free=4, owner=True, pmi_mode=None, persistent=False, log_files=False):
        monkeypatch.setattr(_flux, "check_instance", lambda who: owner)
        monkeypatch.setattr(_flux, "free_nodes", lambda: [node._replace(cores=min(node.cores, free)) for node in NODES])
        made = _flux_steps.FluxPlaces(pmi_mode, None, persistent=persistent, log_files=log_files)
        made.decide(resources)
        return made

    return make


@pytest.mark.parametrize(
    "resources, needs",
    [
        ({}, None),
        ({"cores": 4}, None),
        ({"num_nodes": 1}, None),
        ({"cores": 2, "num_nodes": 2}, (2, 2, 1)),
        ({"cores": 8}, (2, 8, 4)),
        ({"cores": 5}, (2, 6, 3)),
        ({"cores": 4, "threads_per_core": 2, "num_nodes": 2}, (2, 8, 4)),
        ({"cores": 3, "num_nodes": 3, "exclusive": True}, (3, 10, 2**32 - 1)),
    ],
    ids=str,
)
def test_which_calls_are_jobs(places, resources, needs):
    """On so many nodes, with so many cores, and on each."""
    told = places(resources)
    found = told.step(resources)
    assert told.all_steps == (needs is not None)
    assert (found and (found[0].nodes, *found[1:])) == needs
    assert told.limit == (10 if needs else None)
    assert told.hosts() == ("local:///there", ["0", "1", "2"], [4, 4, 2])


def test_calls_that_the_nodes_have_no_room_for(places):
    for resources in ({"cores": 11}, {"cores": 4, "num_nodes": 4}, {"cores": 2, "threads_per_core": 5}):
        with pytest.raises(ValueError, match="4, 4, 2 on its nodes"):
            places(resources)
    with pytest.raises(ValueError, match="shares no GPUs"):
        places({"cores": 2, "num_nodes": 2, "gpus_per_core": 0.5})
    with pytest.raises(ValueError, match="urgency"):
        places({"cores": 2, "num_nodes": 2, "priority": 32})
    with pytest.raises(ValueError, match="4 workers of 4 cores each need more than the Flux instance has"):
        places({"cores": 4, "num_nodes": 2}).check_workers({"cores": 4, "num_nodes": 2}, 4)
    with pytest.raises(ValueError, match="instance of another user.*agents' alone"):
        places({}, owner=False).step({"cores": 2, "num_nodes": 2})


WANTED = {"cores": 3, "num_nodes": 2, "threads_per_core": 2, "run_time_max": 10, "priority": 20}


def test_the_job_of_a_call(places):
    step = places(WANTED, pmi_mode="pmix", owner=False).step(WANTED)[0]
    told = step.jobspec(Request(WANTED))
    (node,) = told["resources"]
    assert (node["type"], node["count"], node["with"][0]["count"]) == ("node", 2, 2)
    assert node["with"][0]["with"] == [{"type": "core", "count": 2}]
    assert told["tasks"][0]["count"] == {"total": 3}
    system = told["attributes"]["system"]
    assert system["duration"] > 10  # Flux ends what this program did not
    options = system["shell"]["options"]
    assert (options["pmi"], options["exit-timeout"], options["gpu-affinity"]) == ("pmix", "10s", "per-task")
    assert options["input"]["stdin"]["path"] == "/dev/null"
    assert "cpu-affinity" not in options
    assert step.urgency == 20
    one = step.jobspec(Request({}))["attributes"]["system"]["shell"]["options"]
    assert one["pmi"] == "off"  # a process that is nobody's rank


@pytest.mark.parametrize(("grace", "granted"), [(0.1, 10_000), (30, 30_000)])
def test_the_launcher_has_the_time_to_cancel_its_job(places, grace, granted):
    request = Request({**WANTED, "terminate_grace": grace})
    request.become_step(*places(WANTED).step(WANTED))
    assert request.needs[6] == granted


def test_jobs_whose_time_is_the_instance_s(places):
    for settings in ({"owner": True}, {"owner": False, "persistent": True}):
        assert places(WANTED, **settings).step(WANTED)[0].duration == 0


def test_files_for_what_ranks_write(places, tmp_path):
    wanted = {**WANTED, "cwd": str(tmp_path / "{{here}}")}
    output = places(wanted, log_files=True).step(wanted)[0].jobspec(Request(wanted))["attributes"]["system"]["shell"]
    assert output["options"]["output"]["stdout"]["path"] == f"{tmp_path}/{{{{{{{{here}}}}/flux_{{{{id.f58plain}}}}.out"


@pytest.mark.parametrize(
    "resources, free, beside", [({}, 4, True), (WANTED, 4, False), (WANTED, 3, True)], ids=["agents", "room", "full"]
)
def test_a_job_shares_cores_where_it_would_wait_for_ever(places, resources, free, beside, monkeypatch):
    step = places(resources, free=free).step(WANTED)[0]
    assert step.beside == beside
    launcher = _flux_launcher.Launcher.__new__(_flux_launcher.Launcher)
    launcher._plan = {"beside": {"cores": 4, "gpus": 0}} if beside else {}
    launcher._command, launcher._ranks = ["python"], ["0", "3"]
    monkeypatch.setattr(_flux_launcher.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=R))
    specification = step.jobspec(Request(WANTED))
    launcher._complete(specification)
    system = specification["attributes"]["system"]
    assert specification["tasks"][0]["command"] == ["python"]
    assert system["environment"] == dict(os.environ)
    assert (system["shell"]["options"].get("cpu-affinity") == "off") == beside
    assert ("alloc-bypass" in system) == beside
    if beside:
        assert [entry["rank"] for entry in system["alloc-bypass"]["R"]["execution"]["R_lite"]] == ["0", "3"]


def test_gpus_of_nodes_with_agents_are_counted_by_node(places):
    wanted = {"cores": 2, "num_nodes": 2, "gpus_per_core": 1}
    with pytest.raises(ValueError, match="needs 1 GPUs on each node, but Flux has 0 on that of rank 2"):
        places({}).step(wanted)
    assert not places(wanted).step(wanted)[0].exclusive


def test_what_the_launcher_is_told(places, monkeypatch):
    monkeypatch.setattr("executorlib._mpi.library", lambda: ("MPICH", "MPICH"))
    step = places({}).step(WANTED)[0]
    setup = step.setup(Request(WANTED), ["rank"])
    *_, program, plan, rank = setup["launch"]
    assert program.endswith("_flux_launcher.py") and rank == "rank"
    assert json.loads(plan)["beside"] == {"cores": 4, "gpus": 0}
    assert json.loads(plan)["submit"] == ["job", "submit", "--flags=novalidate", "--urgency=20"]
    position, option = setup["nodelist"]
    assert setup["launch"][position - 1] == program and option == "--ranks="
    assert "FLUX_JOB" in setup["inherited"] and "FLUX_JOB" in setup["job"]


def test_a_job_inherits_nothing_of_another_job():
    environ = {"FLUX_URI": "local:///x", "FLUX_JOB_ID": "ƒ1", "PMI_RANK": "0", "SLURM_PROCID": "0", "SLURM_JOB_ID": "1"}
    assert _flux.environment(environ) == {"FLUX_URI": "local:///x", "SLURM_JOB_ID": "1"}


def test_how_a_job_is_submitted():
    assert _flux.submission(None, owner=False) == ["job", "submit"]
    assert _flux.submission(20, owner=True) == ["job", "submit", "--flags=novalidate", "--urgency=20"]


@pytest.fixture
def submitted(monkeypatch):
    """The specifications of jobs that are submitted, where no Flux is."""
    found = []

    def run(*arguments, text=""):
        assert arguments == ("job", "submit", "--flags=novalidate", "--urgency=20")
        found.append(json.loads(text))
        return f"ƒ{len(found)}\n"

    monkeypatch.setattr(_flux, "check_instance", lambda who: True)
    monkeypatch.setattr(_flux, "run", run)
    return found


def test_each_worker_of_its_own_is_a_job(submitted, monkeypatch):
    monkeypatch.setenv("FLUX_JOB_ID", "ƒ9")
    resources = {
        "cores": 2,
        "threads_per_core": 3,
        "gpus_per_core": 1,
        "run_time_max": 60,
        "priority": 20,
        "cwd": "/there",
    }
    queue = _flux_queue.FluxQueue()
    assert queue.submit_agents(["agent", "file"], [4, 7], "/logs", resources) == ["0", "1"]
    assert [job["tasks"][0]["command"] for job in submitted] == [["agent", "file", "4"], ["agent", "file", "7"]]
    (slot,) = submitted[0]["resources"]
    assert slot["with"] == [{"type": "core", "count": 6}, {"type": "gpu", "count": 2}]
    system = submitted[0]["attributes"]["system"]
    assert (system["duration"], system["cwd"], system["job"]["name"]) == (60, "/there", "executorlib")
    assert system["shell"]["options"]["output"]["stdout"] == {"type": "file", "path": "/logs/{{id.dec}}.log"}
    assert "FLUX_JOB_ID" not in system["environment"]


@pytest.mark.parametrize("told, left", [("99\n", 99), ("0\n", 0), (f"{2**32 - 1}\n", None), ("what?", None)])
def test_when_a_job_ends(monkeypatch, told, left):
    monkeypatch.setattr(_flux, "run", lambda *arguments: told)
    now = time.time()
    end = _flux.end_of_job()
    assert end is None if left is None else now <= end - left <= time.time()


def test_nodes_of_which_equally_much_is_used_have_one_job():
    nodes = [_flux.Node(rank, cores, 0) for rank, cores in enumerate([4, 4, 2])]
    assert [(first, count, node.cores) for first, count, node in _flux_fleet._alike(nodes)] == [(0, 2, 4), (2, 1, 2)]


ENDED = {"id": 1, "state": 64, "nodelist": "n1", "exception_occurred": False, "waitstatus": 0}


@pytest.mark.parametrize(
    "said, ending",
    [
        ({"result": 1}, ("COMPLETED", "", 0, 0, "n1", "")),
        ({"result": 2, "waitstatus": 7 << 8}, ("FAILED", "", 7, 0, "n1", "")),
        ({"result": 2, "waitstatus": 137 << 8}, ("FAILED", "", 137, 9, "n1", "")),
        ({"result": 2, "waitstatus": 9}, ("FAILED", "", 0, 9, "n1", "")),
        (
            {"result": 4, "exception_occurred": True, "exception_type": "cancel", "exception_note": "by hand"},
            ("CANCELLED", "cancel: by hand", 0, 0, "n1", ""),
        ),
        (
            {"result": 8, "exception_occurred": True, "exception_type": "timeout", "waitstatus": 142 << 8},
            ("TIMEOUT", "timeout", 142, 14, "n1", ""),
        ),
        (
            {"result": 2, "exception_occurred": True, "exception_type": "alloc", "exception_note": "too large"},
            ("FAILED", "alloc: too large", 0, 0, "n1", ""),
        ),
        (
            {
                "result": 2,
                "exception_occurred": True,
                "exception_type": "exec",
                "exception_note": "node failure on n1 (rank 1)",
            },
            ("NODE_FAIL", "exec: node failure on n1 (rank 1)", 0, 0, "n1", ""),
        ),
        (
            {"result": 4, "exception_occurred": True, "exception_type": "dependency", "exception_note": "afterok"},
            ("CANCELLED", NEVER, 0, 0, "n1", ""),
        ),
    ],
)
def test_how_jobs_end(said, ending):
    job = {**ENDED, **said}
    assert _flux_queue._ending(job) == ending
    assert _flux_queue.FluxQueue().has_ended(_flux_queue._state(job))


@pytest.mark.parametrize("state, name", [(2, "PENDING"), (8, "PENDING"), (16, "RUNNING"), (32, "COMPLETING")])
def test_states_of_jobs_that_have_not_ended(state, name):
    assert _flux_queue._state({"state": state}) == name
    assert not _flux_queue.FluxQueue().has_ended(name)


def test_lines_that_are_no_records_are_passed_over():
    text = json.dumps(ENDED) + "\nflux-job: no such job\n"
    assert [job["id"] for job in _flux_queue._records(text)] == [1]


def test_a_resource_that_flux_cannot_give():
    for resources in ({"priority": 32}, {"priority": -1}, {"openmpi_oversubscribe": True}, {"gpus_per_core": 0.5}):
        with pytest.raises(ValueError, match="urgency|oversubscribe|GPUs"):
            _flux_queue.check(resources)


@pytest.mark.parametrize("cls", [FluxJobExecutor, FluxClusterExecutor])
def test_without_flux_it_says_what_was_looked_for(cls, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = "`flux` was not found in PATH.*conda install"
    with pytest.raises(ModuleNotFoundError, match=said) as caught, cls(cache_directory=str(tmp_path)) as executor:
        executor.submit(abs, -1).result(timeout=20)
    assert caught.value.name == "flux"


def test_schedulers_that_there_are_not(tmp_path):
    with pytest.raises(ValueError, match="queue_type"):
        get_cache_data_queue(str(tmp_path), "pbs")


@pytest.mark.timeout(60)
def test_the_launcher_is_not_mistaken_for_somebody_who_came_before(monkeypatch):
    users = iter([os.geteuid() + 1, os.geteuid()])
    monkeypatch.setattr(os, "geteuid", lambda: next(users))
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as stranger:
        door.bind("")
        door.listen(2)
        stranger.connect(door.getsockname())
        with socket.socket(socket.AF_UNIX) as launcher:
            launcher.connect(door.getsockname())
        _flux_fleet._await_end(door)  # which waits for the end of what it takes for the launcher
