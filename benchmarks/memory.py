"""Memory of a process and everything below it, memory files included."""

import os


def descendants(pid):
    """Ids of all processes below `pid`, itself first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for process in found:
        found.extend(children.get(process, ()))
    return found


def anonymous_bytes(pid):
    """Private memory of one process; pages shared after a fork count in proportion."""
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            key, _, rest = line.partition(":")
            fields[key] = rest
    return int((fields.get("Pss_Anon") or fields["Anonymous"]).split()[0]) * 1024


def memory_files(pid):
    """Bytes of the memory files that a process has open or mapped, by inode."""
    sizes = {}
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].startswith("/memfd:"):
                start, end = (int(part, 16) for part in fields[0].split("-"))
                inode = int(fields[4])
                sizes[inode] = sizes.get(inode, 0) + end - start
    folder = f"/proc/{pid}/fd"
    for descriptor in os.listdir(folder):
        path = f"{folder}/{descriptor}"
        try:
            if os.readlink(path).startswith("/memfd:"):
                status = os.stat(path)
                sizes[status.st_ino] = status.st_blocks * 512
        except OSError:
            continue
    return sizes


def tree_bytes():
    """Memory of this process and all below it in bytes. Memory files count once, mapped or not:
    resident size alone would miss those that only wait in a descriptor."""
    total, files = 0, {}
    for pid in descendants(os.getpid()):
        try:
            total += anonymous_bytes(pid)
            files.update(memory_files(pid))
        except (OSError, KeyError):
            continue  # ended meanwhile, or a zombie
    return total + sum(files.values())
