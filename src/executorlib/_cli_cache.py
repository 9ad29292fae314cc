"""`executorlib cache`: what is in a cache, and what may go."""

from __future__ import annotations

import argparse
import json
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executorlib._catalogue import Entry

_DESCRIPTION = """\
Lists, shows and removes the results in a cache_directory.

ls, rm and gc run no code of the cache. show unpickles what it shows, and unpickling can run any code: show only
caches that people you trust have written.
"""

_SIZES = {"": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def add_commands(subparsers: Any) -> None:
    """Add `cache` and its own commands."""
    cache = subparsers.add_parser(
        "cache",
        help="list, show and remove cached results",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = cache.add_subparsers(title="commands", metavar="COMMAND", required=True)

    ls = commands.add_parser("ls", help="list the calls with size, age and run time")
    ls.add_argument("directory", metavar="DIR", help="the cache")
    ls.add_argument("--sort", choices=sorted(_ORDERS), default="key", help="order of the list (default: key)")
    ls.add_argument("--json", action="store_true", help="one JSON object per line")
    ls.set_defaults(run=_list)

    show = commands.add_parser("show", help="show function, arguments and result; unpickles them, which can run code")
    show.add_argument("directory", metavar="DIR", help="the cache")
    show.add_argument("keys", metavar="KEY", nargs="+", help="as ls lists it; * and ? are wildcards")
    show.set_defaults(run=_show)

    rm = commands.add_parser("rm", help="remove calls and their results")
    rm.add_argument("directory", metavar="DIR", help="the cache")
    rm.add_argument("keys", metavar="KEY", nargs="+", help="as ls lists it; * and ? are wildcards")
    rm.set_defaults(run=_remove)

    gc = commands.add_parser(
        "gc",
        help="remove old, large or damaged results",
        description="Removes the results that meet all criteria given, and files that killed writers have left. Calls "
        "that have no result yet stay. Without criteria only the latter files go.",
    )
    gc.add_argument("directory", metavar="DIR", help="the cache")
    gc.add_argument("--older-than", type=_seconds, metavar="AGE", help="e.g. 30d; units s, m, h, d, w, y")
    gc.add_argument("--larger-than", type=_bytes, metavar="SIZE", help="e.g. 1G; units k, M, G, T of 1024")
    gc.add_argument("--faster-than", type=_seconds, metavar="TIME", help="calls that ran shorter than this")
    gc.add_argument("--total", type=_bytes, metavar="SIZE", help="then the oldest, until the cache is this small")
    gc.add_argument("--damaged", action="store_true", help="and files that cannot be read")
    gc.add_argument("--keep", action="append", default=[], metavar="KEY", help="never these; may be repeated")
    gc.add_argument("-n", "--dry-run", action="store_true", help="only say what would go")
    gc.set_defaults(run=_collect)


def _list(arguments: argparse.Namespace) -> int:
    from executorlib import _catalogue

    found = sorted(_catalogue.entries(arguments.directory), key=_ORDERS[arguments.sort])
    if arguments.json:
        for entry in found:
            print(json.dumps(_as_dict(entry)))
        return 0
    rows: list[tuple[str, ...]] = [("size", "age", "run time", "state", "function", "key")]
    rows += [
        (_size(e.size), _time(e.age), "" if e.seconds is None else _time(e.seconds), e.state, e.function, e.key)
        for e in found
    ]
    _print_table(rows)
    print(f"{len(found)} calls, {_size(sum(entry.size for entry in found))}")
    for entry in found:
        if entry.problem:
            print(f"damaged: {entry.key}: {entry.problem}", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    import cloudpickle

    from executorlib import _catalogue, _store
    from executorlib._cache import FIELDS

    for number, entry in enumerate(_catalogue.find(arguments.directory, arguments.keys)):
        print(("\n" if number else "") + entry.key)
        for path in entry.paths:
            print(f"  file: {path} ({_size(entry.size)}, {_time(entry.age)} old)")
            fields = _store.read(path, FIELDS)
            for name in (name for name in FIELDS if name in fields):
                try:
                    text = repr(cloudpickle.loads(fields[name]))
                except Exception as error:
                    text = f"<{len(fields[name])} bytes; {type(error).__name__}: {error}>"
                print(f"  {name}: {text if len(text) <= 2000 else text[:2000] + ' …'}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from executorlib import _catalogue

    found = _catalogue.find(arguments.directory, arguments.keys)
    for entry in found:
        entry.remove()
    print(f"removed {len(found)} calls, {_size(sum(entry.size for entry in found))}")
    return 0


def _collect(arguments: argparse.Namespace) -> int:
    from executorlib import _catalogue

    goes = _catalogue.garbage(
        arguments.directory,
        older_than=arguments.older_than,
        larger_than=arguments.larger_than,
        faster_than=arguments.faster_than,
        total=arguments.total,
        damaged=arguments.damaged,
        keep=arguments.keep,
    )
    left = _catalogue.leftovers(arguments.directory)
    for entry in goes:
        print(f"{_size(entry.size):>8}  {_time(entry.age):>6}  {entry.key}")
        if not arguments.dry_run:
            entry.remove()
    if not arguments.dry_run:
        _catalogue.remove_leftovers(left)
    verb = "would remove" if arguments.dry_run else "removed"
    print(f"{verb} {len(goes)} calls, {_size(sum(entry.size for entry in goes))}, and {len(left)} unfinished files")
    return 0


_ORDERS: dict[str, Any] = {
    "key": lambda entry: entry.key,
    "age": lambda entry: entry.changed,
    "size": lambda entry: -entry.size,
    "time": lambda entry: -(entry.seconds or 0.0),
}


def _as_dict(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "function": entry.function,
        "state": entry.state,
        "bytes": entry.size,
        "changed": entry.changed,
        "seconds": entry.seconds,
        "queue_id": entry.queue_id,
        "problem": entry.problem,
        "files": entry.paths,
    }


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[:3], widths[:3], strict=True)]
        texts = [cell.ljust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        print("  ".join(numbers + texts).rstrip())


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    for unit, length in (("s", 60), ("m", 60), ("h", 24), ("d", 365)):
        if seconds < length:
            return f"{seconds:.0f} {unit}" if unit != "s" else f"{seconds:.1f} s"
        seconds /= length
    return f"{seconds:.1f} y"


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGT]?)i?B?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 500M or 1.5G")
    return int(float(match[1]) * _SIZES[match[2].replace("K", "k")])


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdwy])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 12h or 30d")
    return float(match[1]) * _TIMES[match[2]]
