"""The bed whose nodes are hosts on a network."""

import os
import select
import socket
import sys

import pytest
import support
from beds import network
from beds.slurm import IMPATIENT, SlurmBed, missing

from slurm.conftest import FOREVER

NAMES = ["n1", "n2", "n3"]
PORT = 7000

#: Says in a named pipe that it listens, then sends back what comes over one connection.
ECHO = """
import socket, sys
with socket.create_server(("", int(sys.argv[2]))) as server:
    print("listening", file=open(sys.argv[1], "w"))
    connection, _ = server.accept()
    # Others may connect as well, and nobody answers.
    server.detach()
while data := connection.recv(1):
    connection.sendall(data)
"""
#: Sends bytes over one connection and says in a named pipe when they begin or cease to come back in time.
PING = """
import socket, sys
says = open(sys.argv[1], "w", buffering=1)
connection = socket.create_connection((sys.argv[3], int(sys.argv[2])))
connection.settimeout(0.2)
connection.sendall(b"x")
last = None
while True:
    try:
        connection.sendall(connection.recv(1))
        now = "connected"
    except TimeoutError:
        now = "cut off"
    if now != last:
        print(now, file=says)
    last = now
"""


class Lines:
    """Lines that other processes write to a named pipe."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(path)
        # Read and write, so that it neither waits for the first writer nor ends with the last.
        self._file = os.fdopen(os.open(path, os.O_RDWR), "rb", buffering=0)

    def next(self, timeout=support.SOON):
        """The next line; one write has one line."""
        ready, _, _ = select.select([self._file], [], [], timeout)
        assert ready, f"no line within {timeout} s"
        return self._file.read(4096).decode().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


@pytest.fixture(scope="module")
def cut_off():
    """A bed, and a job in it on a node that has just been cut off: Slurm needs some seconds to see it."""
    if reason := missing() or network.missing():
        pytest.skip(reason)
    with SlurmBed(networked=True, **IMPATIENT) as bed:
        job = bed.sbatch(FOREVER, "--nodelist=n2", "--no-requeue")
        bed.wait_begun(job)
        bed.cut(2)
        yield bed, job


pytestmark = pytest.mark.usefixtures("cut_off")


@pytest.fixture
def lines(tmp_path):
    with Lines(tmp_path / "lines") as lines:
        yield lines


def step(bed, node, program, *arguments):
    # sbatch, whose program needs no connection to this process.
    return bed.sbatch(f"exec {sys.executable} -c '{program}' {' '.join(map(str, arguments))}", f"--nodelist={node}")


def connect(bed, lines):
    """Two processes, on n1 and n2, with a connection that crosses the network."""
    step(bed, "n1", ECHO.replace("'", '"'), lines.path, PORT)
    assert lines.next() == "listening"
    step(bed, "n2", PING, lines.path, PORT, bed.network.address("n1"))
    assert lines.next() == "connected"


def test_nodes_are_hosts_of_their_own(networked_slurm):
    assert networked_slurm.node_states() == dict.fromkeys(NAMES, "IDLE")
    said = networked_slurm.run("srun", "-N3", "sh", "-c", "hostname; ip -brief -4 address show eth0").stdout
    assert sorted(line for line in said.splitlines() if "eth0" not in line) == NAMES
    for name in NAMES:
        assert f" {networked_slurm.network.address(name)}/24" in said


def test_steps_from_a_batch_job_reach_other_nodes(networked_slurm):
    job = networked_slurm.sbatch("srun -N3 hostname", "-N3")
    networked_slurm.wait_job(job, "COMPLETED")
    assert sorted((networked_slurm.folder / f"job-{job}.out").read_text().split()) == NAMES


def test_steps_inside_an_allocation(networked_slurm):
    assert sorted(networked_slurm.run("salloc", "-N3", "srun", "hostname").stdout.split()) == NAMES


def test_commands_on_a_node(networked_slurm):
    assert networked_slurm.run("hostname", on=3).stdout == "n3\n"


def test_cut_link_stops_a_connection_and_no_more(networked_slurm, lines):
    connect(networked_slurm, lines)
    networked_slurm.cut(2)
    assert lines.next() == "cut off"
    # Slurm has not noticed.
    assert networked_slurm.node_states()["n2"] == "MIXED"
    networked_slurm.restore(2)
    assert lines.next() == "connected"


def test_link_of_this_host(networked_slurm, lines):
    def connect_to_n1(timeout=support.SOON):
        socket.create_connection((networked_slurm.network.address("n1"), PORT), timeout).close()

    connect(networked_slurm, lines)
    connect_to_n1()
    networked_slurm.cut("login")
    with pytest.raises(OSError, match=r"timed out|No route"):
        connect_to_n1(timeout=0.5)
    networked_slurm.restore("login")
    connect_to_n1()
    # All the time n1 and n2 were connected.
    with pytest.raises(AssertionError, match="no line"):
        lines.next(timeout=0)


def test_node_behind_a_cut_link_goes_down_and_comes_back(cut_off):
    bed, job = cut_off
    bed.wait_job(job, "NODE_FAIL")
    assert bed.node_states()["n2"] == "DOWN*"
    bed.restore(2)
    bed.wait_nodes("IDLE")
