"""A real Slurm of three nodes on one host, for tests. README.md beside this file says what to expect of it.

>>> with SlurmBed() as bed:
...     print(bed.run("srun", "-N3", "hostname").stdout)
"""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from beds import network
from beds.nursery import Nursery
from beds.waiting import until

CONTROLLER = "controller"
NODES = ("n1", "n2", "n3")
CPUS = 4
MEMORY_MIB = 6000
GPUS = ("/dev/null", "/dev/zero")
#: Daemons are in sbin, which is not in everybody's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scontrol", "sinfo", "scancel")
MEMORY_CGROUPS = Path("/sys/fs/cgroup/memory")

#: Options to start a bed with in which a node that does not answer is down after 3 s (slurmd killed) to 8 s (link cut).
#: On a busy machine they are too short to have always. With a small tree the controller gives up earlier.
IMPATIENT = {"SlurmdTimeout": 2, "MessageTimeout": 2, "TreeWidth": 2}

#: What differs from Slurm's defaults in order that tests take seconds, and what a site may have otherwise.
OPTIONS = {
    "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
    "SlurmdTimeout": 60,
    "MessageTimeout": 5,
    "KillWait": 2,
    "ReturnToService": 2,
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "CANCEL",
}


def missing():
    """Why there can be no Slurm here, or None."""
    for program in PROGRAMS:
        if not shutil.which(program, path=PATH):
            return f"a real Slurm needs the program {program!r} (scripts/setup slurm installs it)"
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return f"Slurm needs a user with a name, and user {os.geteuid()} has none"
    return None


def missing_memory_cgroups():
    """Why memory cannot be limited by cgroups here, or None; Slurm needs systemd for those of version 2."""
    writable = os.access(MEMORY_CGROUPS / "release_agent", os.W_OK)
    return None if writable else f"memory limits need a writable {MEMORY_CGROUPS} (cgroups of version 1)"


class BedError(RuntimeError):
    """The bed is not as it should be; the message has the ends of its logs."""


class SlurmBed:
    """Three nodes n1, n2, n3 of 4 cores, 6000 MiB and 2 pretended GPUs each, and their controller.

    *networked* gives each node and the controller a host name and an address of its own, in a network namespace; else
    all are at 127.0.0.1. *memory_cgroups* has the kernel end what takes more memory than its job may. *options* are
    further or other lines of slurm.conf. All files are in `folder`. Use it as a context manager, or call start() and
    stop(); should this process die instead, everything goes as well.
    """

    def __init__(self, networked=False, memory_cgroups=False, **options):
        self.networked = networked
        self.memory_cgroups = memory_cgroups
        self.folder = None
        self.network = None
        plugin = {"TaskPlugin": "task/cgroup" if memory_cgroups else "task/none"}
        self._initial_options = {**OPTIONS, **plugin, **options}
        self._options = {}
        self._nursery = None
        self._ports = {}
        self._first_job = 1
        self._pids = {}
        self._cut = set()

    def start(self):
        """Start all daemons; returns once three nodes are idle. Raises `BedError` with the ends of the logs if not."""
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-bed-"))
        self._nursery = Nursery(self.folder, str(MEMORY_CGROUPS / "slurm_n[1-3]") if self.memory_cgroups else "")
        self._options = dict(self._initial_options)
        self._first_job = random.randrange(1, 6000) * 10_000
        self._ports = dict(zip([CONTROLLER, *NODES], _free_ports(1 + len(NODES))))
        try:
            if self.networked:
                self.network = network.Network(self._nursery, [*NODES, CONTROLLER])
            self._prepare_folder()
            self._write_configuration()
            self._start_munged()
            self._start_slurmctld()
            for node in NODES:
                self._start_slurmd(node)
            self.wait_nodes("IDLE")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """End every process of the bed, jobs' included, and remove its folder and network. May be called twice."""
        if self._nursery:
            self._nursery.close()
            self._nursery = None
            self._pids.clear()
            self._cut.clear()
        if self.network:
            self.network.wait_gone()
            self.network = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # Using it

    @property
    def pid(self):
        """The process from which all of the bed descend: its daemons, and the jobs' processes."""
        return self._nursery.pid

    @property
    def variables(self):
        """Environment variables that make Slurm's commands speak to this bed."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": PATH}

    def run(self, *command, timeout=90, check=True, on=None, **options):
        """Run *command* with this bed's environment, on the host of node *on* if given; its CompletedProcess.

        Output is text. Raises `subprocess.CalledProcessError` on a failure unless *check* is false.
        """
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, **options}
        return subprocess.run(
            self._command(command, on), env=self._environment(), timeout=timeout, check=check, **options
        )

    def popen(self, *command, on=None, **options):
        """Start *command* likewise, with its output piped as text; its Popen."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self._command(command, on), env=self._environment(), text=True, **options)

    def sbatch(self, script, *options):
        """Submit the shell text *script*; the job's id. It runs in `folder`, with its output in job-<id>.out there."""
        job = "%A_%a" if any(str(option).startswith("--array") for option in options) else "%j"
        fixed = ["--parsable", f"--chdir={self.folder}", f"--output={self.folder}/job-{job}.out"]
        return self.run("sbatch", *fixed, *options, f"--wrap={script}").stdout.strip()

    def job(self, job_id):
        """What `scontrol show job` says of a job or array task, {field: value}."""
        fields = self.run("scontrol", "--oneliner", "show", "job", job_id).stdout.split()
        return dict(field.split("=", 1) for field in fields if "=" in field)

    def wait_job(self, job_id, *states, timeout=90):
        """Return the fields of a job once its state is one of *states*."""

        def reached():
            nonlocal fields
            fields = self.job(job_id)
            return fields["JobState"] in states

        fields = {}
        with self._explained(lambda: f"; it says {fields}"):
            until(reached, timeout, f"job {job_id} to be {' or '.join(states)}")
        return fields

    def wait_begun(self, *job_ids, timeout=90):
        """Return once the scripts of the jobs run, which RUNNING does not say."""
        for job_id in job_ids:
            until((self.folder / f"job-{job_id}.out").exists, timeout, f"the script of job {job_id} to begin")

    def node_states(self):
        """{node: state} in Slurm's words; that of a node that does not answer ends with `*`."""
        words = self.run("sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=main").stdout.split()
        return dict(zip(words[::2], map(str.upper, words[1::2])))

    def wait_nodes(self, state, timeout=90):
        """Return once all nodes are in *state*."""

        def reached():
            self._check_alive()
            return set(self.node_states().values()) == {state}

        with self._explained(lambda: f"; they are {self.node_states()}"):
            until(reached, timeout, f"all nodes to be {state}")

    # Breaking and mending it; a node is named by its number

    def kill_slurmd(self, number):
        """Kill a node's daemon with SIGKILL; the processes of its jobs live on. Returns when it is gone."""
        self._kill(NODES[number - 1], signal.SIGKILL)

    def fail_node(self, number):
        """Kill a node's daemon and have the node marked down at once, as it would be after SlurmdTimeout."""
        self.kill_slurmd(number)
        self.run("scontrol", "update", f"NodeName={NODES[number - 1]}", "State=DOWN", "Reason=failed by the test")

    def restart_slurmd(self, number, timeout=90):
        """Start a node's daemon again and wait until the node can take jobs."""
        node = NODES[number - 1]
        self._kill(node, signal.SIGTERM)
        self._start_slurmd(node)
        with self._explained(lambda: f"; it is {self.node_states()[node]}"):
            until(lambda: self.node_states()[node] in ("IDLE", "MIXED", "ALLOCATED"), timeout, f"{node} to be back")

    def stop_slurmctld(self, signal_number=signal.SIGTERM):
        """Stop the controller: SIGTERM lets it save its state, SIGKILL does not. Returns when it is gone."""
        self._kill(CONTROLLER, signal_number)

    def start_slurmctld(self):
        """Start the controller again, with the jobs it had; returns once it answers."""
        self._start_slurmctld()
        # Or else its nodes were unknown to it for 4 s.
        self.run("scontrol", "reconfigure")

    def cut(self, number):
        """Cut the link of a node, of "controller", or of "login" (this process's host). Only where *networked*."""
        self.network.cut(_host(number))
        self._cut.add(number)

    def restore(self, number):
        """Restore a link that was cut."""
        self.network.restore(_host(number))
        self._cut.discard(number)

    def configure(self, **options):
        """Change lines of slurm.conf, for daemons that run and for commands that start from now on.

        How often nodes are pinged is settled when the controller starts: see IMPATIENT.
        """
        self._options.update(options)
        self._write_configuration()
        self.run("scontrol", "reconfigure")

    def reset(self):
        """Make it as it was after start(): no jobs, all links, daemons and options in their place, nodes idle."""
        for number in list(self._cut):
            self.restore(number)
        changed, self._options = self._options != self._initial_options, dict(self._initial_options)
        self._write_configuration()
        if CONTROLLER not in self._pids:
            self.start_slurmctld()
        elif changed:
            self.run("scontrol", "reconfigure")
        self.run("scancel", f"--user={os.geteuid()}")
        for number, node in enumerate(NODES, start=1):
            if node not in self._pids:
                self.restart_slurmd(number)
        with self._explained():
            until(lambda: not self.run("squeue", "--noheader").stdout, 90, "the end of all jobs")
        for node, state in self.node_states().items():
            if state.startswith("DRAIN"):
                self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        self.wait_nodes("IDLE")

    # Its parts

    def _environment(self):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_", "SALLOC_", "SRUN_"))}
        return {**inherited, **self.variables}

    def _command(self, command, number):
        command = list(map(str, command))
        return self.network.command_on(_host(number), command) if number and self.network else command

    def _spawn(self, name, host, *command):
        if self.network:
            command = self.network.command_on(host, command)
        # A sanitizer that is preloaded into the tests is not for the daemons.
        env = {key: value for key, value in self._environment().items() if key != "LD_PRELOAD"}
        self._pids[name] = self._nursery.spawn(command, self.folder / f"{name}.out", env)

    def _start_munged(self):
        folder = self.folder / "munge"
        folder.mkdir()
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o600)
        places = [f"--{what}-file={folder}/{what}" for what in ("key", "pid", "log", "seed")]
        # By force, because munged wants its socket to be reachable by all users, and this folder is private.
        self._spawn("munged", network.LOGIN, "munged", "--foreground", "--force", f"--socket={folder}/socket", *places)

        def listens():
            self._check_alive()
            return (folder / "socket").exists()

        with self._explained():
            until(listens, 60, "munged to listen")

    def _start_slurmctld(self):
        self._spawn(CONTROLLER, CONTROLLER, "slurmctld", "-D")

        def answers():
            self._check_alive()
            return self.run("scontrol", "ping", check=False).returncode == 0

        with self._explained():
            until(answers, 60, "slurmctld to answer")

    def _start_slurmd(self, node):
        self._spawn(node, node, "slurmd", "-D", "-N", node)

    def _kill(self, name, signal_number):
        """Kill a daemon and return when it is gone; nothing where it is gone already."""
        pid = self._pids.pop(name, None)
        if pid and _exists(pid):
            os.kill(pid, signal_number)
            until(lambda: not _exists(pid), 60, f"the end of {name}")

    def _check_alive(self):
        for name, pid in self._pids.items():
            if not _exists(pid):
                raise BedError(f"{name} has ended{self._logs_ends()}")

    @contextlib.contextmanager
    def _explained(self, details=lambda: ""):
        try:
            yield
        except TimeoutError as error:
            raise BedError(f"{error}{details()}{self._logs_ends()}") from None

    def _address(self, host):
        return self.network.address(host) if self.network else "127.0.0.1"

    def _write_configuration(self):
        folder, user = self.folder, os.geteuid()
        hostname = CONTROLLER if self.network else socket.gethostname().split(".")[0]
        fixed = {
            "ClusterName": "bed",
            "SlurmctldHost": f"{hostname}({self._address(CONTROLLER)})",
            "SlurmctldPort": self._ports[CONTROLLER],
            # Cgroups are named by the job alone, so beds must not have the same ones.
            "FirstJobId": self._first_job,
            "SlurmUser": user,
            "SlurmdUser": user,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder}/munge/socket",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool.%n",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": folder / "slurmd.%n.pid",
            "SlurmctldLogFile": folder / "slurmctld.log",
            "SlurmdLogFile": folder / "slurmd.%n.log",
            "SlurmdParameters": "config_overrides",
            "ProctrackType": "proctrack/pgid",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "DefMemPerCPU": 1000,
            "GresTypes": "gpu",
            "MpiDefault": "none",
            "AccountingStorageType": "accounting_storage/none",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": folder / "completed.txt",
        }
        lines = [f"{key}={value}" for key, value in {**fixed, **self._options}.items()]
        for node in NODES:
            lines.append(
                f"NodeName={node} NodeHostname={node if self.network else hostname} NodeAddr={self._address(node)}"
                f" Port={self._ports[node]} CPUs={CPUS} Boards=1 SocketsPerBoard=1 CoresPerSocket={CPUS}"
                f" ThreadsPerCore=1 RealMemory={MEMORY_MIB} Gres=gpu:{len(GPUS)}"
            )
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1")
        lines.append("PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2")
        # In one piece, since daemons may be reading it.
        (folder / "slurm.conf.new").write_text("\n".join(lines) + "\n")
        (folder / "slurm.conf.new").rename(folder / "slurm.conf")

    def _prepare_folder(self):
        (self.folder / "state").mkdir()
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
        # Slurm 22.05 refuses to start with this plugin disabled, even if nothing of it is used.
        limits = "ConstrainRAMSpace=yes\n" if self.memory_cgroups else ""
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n" + limits)
        # A GPU must be a device, and Slurm does no more than look whether it is one.
        for number, device in enumerate(GPUS):
            (self.folder / f"gpu{number}").symlink_to(device)
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-{len(GPUS) - 1}]\n")

    def _logs_ends(self, length=1500):
        logs = [*sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*.out"))]
        return "".join(f"\n--- end of {log.name}\n{text[-length:]}" for log in logs if (text := log.read_text()))


def _host(number):
    return NODES[number - 1] if isinstance(number, int) else number


def _exists(pid):
    return os.path.exists(f"/proc/{pid}")


def _free_ports(count):
    """Ports nobody listens on, below those that the kernel gives to outgoing connections."""
    found = set()
    while len(found) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            found.add(port)
    return found
