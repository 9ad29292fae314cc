"""Hosts with addresses of their own on one machine, joined by a switch, whose links can be cut.

Each host is a network and a UTS namespace without a name, kept by a process of the nursery; the switch is a bridge in
another. When these processes end, the kernel removes namespaces, bridge and links: nothing has to be cleaned up. The
machine itself is on the network too, as the host "login".
"""

import os
import random
import shutil
import subprocess

from beds.waiting import until

LOGIN = "login"


def missing():
    """Why there can be no network of namespaces here, or None."""
    for program in ("ip", "nsenter", "unshare"):
        if not shutil.which(program):
            return f"network namespaces need the program {program!r} (scripts/setup slurm installs it)"
    # Links and not only a namespace: containers may allow the latter alone.
    links = "ip link add bed1 type veth peer name bed2 && ip link add bed3 type bridge"
    command = ["unshare", "--net", "--uts", "sh", "-c", links]
    attempt = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return f"no rights for network namespaces: {attempt.stderr.strip()}" if attempt.returncode else None


class Network:
    """Hosts *names* and the login host, joined by a switch; lives as long as the processes of *nursery*."""

    def __init__(self, nursery, names):
        self.names = list(names)
        log = nursery.folder / "network.log"
        self._switch = nursery.spawn(["unshare", "--net", "sleep", "infinity"], log)
        self._hosts = {
            name: nursery.spawn(
                ["unshare", "--net", "--uts", "sh", "-c", f"hostname {name} && exec sleep infinity"], log
            )
            for name in self.names
        }
        for pid in [self._switch, *self._hosts.values()]:
            until(lambda pid=pid: _is_apart(pid), 60, f"a network namespace for process {pid}")
        self._plug_in_login()
        for number, (name, pid) in enumerate(self._hosts.items(), start=1):
            self._in_switch(_plug_in(name, "eth0", pid))
            _ip(f"""addr add {self._subnet}.{number}/24 dev eth0
                    link set lo up
                    link set eth0 up""", pid)  # fmt: skip

    def _plug_in_login(self):
        self._in_switch("""link add switch type bridge forward_delay 0
                           link set switch up""")
        # 198.18.0.0/15 is set aside for benchmarks of networks, so no host anybody wants to reach has an address in it.
        # The name of the interface says which part is taken, and the kernel has each name only once.
        for part in random.sample(range(256), 16):
            self._interface = f"slurmbed{part}"
            self._subnet = f"198.18.{part}"
            try:
                self._in_switch(_plug_in(LOGIN, self._interface, os.getpid()))
            except subprocess.CalledProcessError as error:
                if "exists" not in error.stderr:
                    raise
                continue
            _ip(f"addr add {self._subnet}.254/24 dev {self._interface}\nlink set {self._interface} up")
            return
        raise RuntimeError("no free part of 198.18.0.0/16 for the nodes' network")

    def address(self, name):
        """The IPv4 address of the host *name*."""
        return f"{self._subnet}.{254 if name == LOGIN else self.names.index(name) + 1}"

    def command_on(self, name, command):
        """The command that runs *command* on the host *name*."""
        if name == LOGIN:
            return list(command)
        # Not `ip netns exec`, which mounts /sys anew, without /sys/fs/cgroup, and slurmd then refuses to start.
        return ["nsenter", f"--target={self._hosts[name]}", "--net", "--uts", *command]

    def cut(self, name):
        """Pull the plug of *name* at the switch: packets from and to it are lost, its addresses stay."""
        self._in_switch(f"link set {name} down")

    def restore(self, name):
        """Put back the plug of *name*; packets pass again within about a second."""
        self._in_switch(f"link set {name} up")

    def wait_gone(self):
        """Return when the kernel has removed the network, soon after its processes have ended."""
        path = f"/sys/class/net/{self._interface}"
        until(lambda: not os.path.exists(path), 60, f"the end of the interface {self._interface}")

    def _in_switch(self, commands):
        _ip(commands, self._switch)


def _plug_in(port, interface, pid):
    return f"""link add {port} type veth peer name {interface} netns {pid}
               link set {port} master switch up"""


def _ip(commands, pid=None):
    """Run commands of ip, one a line, in the network namespace of *pid*."""
    enter = [] if pid is None else ["nsenter", f"--target={pid}", "--net"]
    subprocess.run(
        [*enter, "ip", "-batch", "-"], input=commands, text=True, check=True, capture_output=True, timeout=60
    )


def _is_apart(pid):
    return os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
