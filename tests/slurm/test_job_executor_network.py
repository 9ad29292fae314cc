"""SlurmJobExecutor where its nodes are hosts on a network, and the links between them fail."""

import sys

import functions
import pytest
import support

from executorlib import SlurmJobExecutor, _fleet, api
from slurm.nodes import NAMES, by_node


def test_calls_cross_the_network(networked_job, arguments):
    with SlurmJobExecutor(**arguments) as executor:
        futures = [executor.submit(functions.add, i, 1) for i in range(200)]
        assert [future.result(timeout=support.SOON) for future in futures] == list(range(1, 201))
        error = executor.submit(functions.crash, "SIGKILL").exception(timeout=support.SOON)
        assert error.host in NAMES
    assert networked_job.steps() == {f"{networked_job.id}.0"}


def test_driver_on_a_node(networked_slurm, tmp_path):
    script = support.write_script(
        tmp_path,
        """
        import socket
        from executorlib import SlurmJobExecutor
        with SlurmJobExecutor(max_workers=3, block_allocation=True) as executor:
            print(socket.gethostname(), sum(executor.map(pow, range(100), [2] * 100)))
        """,
    )
    # There is no name server to wait for.
    batch = networked_slurm.sbatch(
        f"RES_OPTIONS='timeout:1 attempts:1' {sys.executable} {script}", "-N3", "--ntasks-per-node=1"
    )
    networked_slurm.wait_job(batch, "COMPLETED")
    assert (networked_slurm.folder / f"job-{batch}.out").read_text().splitlines()[-1] == "n1 328350"


def append_and_pass(path, folder, number):
    functions.append_line(path, number)
    functions.pass_gate(folder)
    return number


def test_cut_that_breaks_the_connection_loses_and_repeats_nothing(networked_job, gate, tmp_path, monkeypatch):
    monkeypatch.setattr(_fleet, "_GRACE_MS", 6000)  # the kernel gives the connection up after half of this
    with SlurmJobExecutor(block_allocation=True, max_workers=3) as executor:
        futures = [executor.submit(append_and_pass, str(tmp_path / "log"), gate.folder, number) for number in range(60)]
        gate.arrivals(3)
        networked_job.bed.cut(2)
        gate.open()
        # Two nodes go on; the third has calls that it cannot answer.
        with pytest.raises(TimeoutError):
            for future in futures:
                future.result(timeout=3.5)
        networked_job.bed.restore(2)
        assert [future.result(timeout=support.SOON) for future in futures] == list(range(60))
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(60))


THIRTY = [pytest.mark.soak, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("link", "seconds"),
    [("login", 1.0), ("controller", 1.0), *(pytest.param(link, 30.0, marks=THIRTY) for link in (2, "login"))],
)
def test_link_that_is_cut_for_a_while(networked_job, gate, tmp_path, link, seconds):
    with SlurmJobExecutor(block_allocation=True, max_workers=3) as executor:
        futures = [executor.submit(append_and_pass, str(tmp_path / "log"), gate.folder, number) for number in range(60)]
        gate.arrivals(3)
        agents = networked_job.agents().values()
        networked_job.bed.cut(link)
        gate.open()
        assert support.alive_after(agents, seconds) == sorted(agents)
        networked_job.bed.restore(link)
        assert [future.result(timeout=2 * support.SOON) for future in futures] == list(range(60))
    assert sorted(map(int, (tmp_path / "log").read_text().split())) == list(range(60))


@pytest.mark.parametrize("restart_limit", [0, 1])
def test_node_that_stays_away_loses_its_calls(networked_job, gate, monkeypatch, restart_limit):
    monkeypatch.setattr(_fleet, "_GRACE_MS", 2000)
    with SlurmJobExecutor(block_allocation=True, max_workers=3, restart_limit=restart_limit) as executor:
        futures = by_node(executor, gate)
        processes = networked_job.processes()
        lost_agent = networked_job.agents()["n2"]
        networked_job.bed.cut(2)
        if restart_limit:
            gate.open()
            assert futures["n2"].result(timeout=support.SOON) is None
        else:
            error = futures["n2"].exception(timeout=support.SOON)
            assert isinstance(error, api.WorkerLostError) and error.host == "n2" and "out of reach" in str(error)
            gate.open()
        assert [futures[node].result(timeout=support.SOON) for node in ("n1", "n3")] == [None] * 2
        assert support.alive_after([lost_agent], support.SOON) == []  # by itself
        networked_job.bed.restore(2)
    assert support.alive_after(processes, support.SOON) == []
