"""A Flux instance for those who use one: made when something first connects to it.

    call: flux run … ──▶ FLUX_URI = <folder>/local, the keeper's socket ──first connection──▶ flux broker, on <cores>
                                     │                                                            │
                                     └── becomes a link to the broker's own socket ◀── is ready ──┘

The job around a call, or around an agent, holds the cores that the call is to use, so that a program which the call
starts with `flux run` would wait for them for ever. An instance of its own has them; it takes about a second to start,
which only those wait for who use it. The keeper is a fork of the process for which the instance is, and ends with it;
the broker ends with the keeper.

Loaded from its file, without the package.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as _Socket
    from socket import socket
    from subprocess import Popen
    from typing import Any

# What would tell a broker, and those who connect to it, of the job around it.
_OF_THE_JOB = ("FLUX_JOB", "FLUX_TASK", "FLUX_KVS_NAMESPACE", "FLUX_TERMINUS", "FLUX_URI", "PMI_", "PMIX_", "SLURM_")

_CONFIGURATION = """\
[resource]
noverify = true
[[resource.config]]
hosts = "{host}"
cores = "{cores}"
{gpus}"""

_READY = "echo ready; exec cat"  # ends when the keeper is gone


def open_here(cores: int) -> None:
    """Point FLUX_URI of this process to an instance with so many cores of this host, which does not run yet.

    Call it while there are no threads. Nothing happens outside of Flux.
    """
    # Not the modules around it, whose import takes longer than all else here; most calls do not use Flux.
    import _socket

    uri = os.environ.get("FLUX_URI", "")
    if not uri.startswith("local://"):
        return
    # Both of these Flux removes; what is in them is for this user's eyes only.
    place = os.environ.get("FLUX_JOB_TMPDIR") or os.path.dirname(uri.removeprefix("local://"))
    try:
        folder = os.path.join(place if os.path.isdir(place) else "/tmp", f"call-{os.urandom(8).hex()}")
        os.mkdir(folder, 0o700)
        door = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        door.bind(os.path.join(folder, "local"))
        door.listen(64)
    except OSError as error:
        print(f"executorlib: calls here have no Flux instance of their own: {error}", file=sys.stderr)
        return
    owner = os.pidfd_open(os.getpid())
    if os.fork() == 0:
        try:
            _keep(door, owner, folder, cores)
        except BaseException as error:
            print(f"executorlib: no Flux instance could be started for a call: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(0)
    os.close(owner)
    door.close()
    forget_job()
    os.environ["FLUX_URI"] = f"local://{folder}/local"


def forget_job() -> None:
    """Remove from the environment what tells of the job around this process, and not of an instance."""
    for name in list(os.environ):
        if name.startswith(_OF_THE_JOB[:4]):
            del os.environ[name]


def _keep(door: "_Socket", owner: int, folder: str, cores: int) -> None:
    """The whole of the keeper."""
    import select
    import signal

    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _silence(0, 1)
    low, high = sorted((door.fileno(), owner))
    for first, last in ((3, low), (low + 1, high), (high + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(first, last)
    poll = select.poll()
    poll.register(owner, select.POLLIN)
    poll.register(door, select.POLLIN)
    if owner not in dict(poll.poll()):
        _serve(door, owner, folder, cores)
        return
    try:
        os.unlink(os.path.join(folder, "local"))
        os.rmdir(folder)
    except OSError:  # Flux has removed the job's folder
        pass


def _serve(door: "_Socket", owner: int, folder: str, cores: int) -> None:
    """Now that somebody uses it."""
    import shutil
    import socket

    broker = _start(folder, cores)
    _silence(2)
    listener = socket.socket(fileno=door.detach())
    _relay(listener, owner, os.path.join(folder, "run", "local-0"), os.path.join(folder, "local"))
    broker.communicate()  # at the end of its input it ends by itself
    shutil.rmtree(folder, ignore_errors=True)


def _silence(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def _start(folder: str, cores: int) -> "Popen":
    """Start a broker, and return when it takes jobs."""
    import subprocess

    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    told = f'gpus = "{gpus}"\n' if gpus.replace(",", "").isdecimal() else ""
    configuration = os.path.join(folder, "broker.toml")
    with open(configuration, "w") as file:
        file.write(
            _CONFIGURATION.format(host=os.uname().nodename, cores=f"0-{cores - 1}" if cores > 1 else "0", gpus=told)
        )
    os.mkdir(os.path.join(folder, "run"))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_OF_THE_JOB)}
    command = ["flux", "broker", f"--config-path={configuration}", f"--setattr=rundir={folder}/run", "sh", "-c", _READY]
    with open(os.path.join(folder, "broker.log"), "wb") as log:
        broker = subprocess.Popen(
            command, env=environ, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    if not (broker.stdout and broker.stdout.readline()):
        with open(os.path.join(folder, "broker.log"), errors="replace") as said:
            raise RuntimeError(said.read())
    return broker


def _relay(door: "Any", owner: int, inner: str, outer: str) -> None:
    """Pass on what came before there was a broker, until the owner is gone; who comes later finds the broker itself."""
    import select
    import socket

    os.symlink(inner, outer + ".new")
    os.rename(outer + ".new", outer)
    others: dict[Any, socket.socket] = {}
    while True:
        ready = select.select([door, owner, *others], [], [])[0]
        if owner in ready:
            return
        if door in ready:
            client, _ = door.accept()
            broker = socket.socket(socket.AF_UNIX)
            broker.connect(inner)
            others[client], others[broker] = broker, client
        for end in [end for end in others if end in ready]:
            if end in others:
                _pass_on(end, others)


def _pass_on(end: "socket", others: "dict[socket, socket]") -> None:
    try:
        data = end.recv(65536)
        if data:
            others[end].sendall(data)
            return
    except OSError:
        pass
    other = others.pop(end)
    others.pop(other, None)
    end.close()
    other.close()
