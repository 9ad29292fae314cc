"""Sets of ids, hosts and resources as Flux writes them: RFC 22, 29 and 20 of flux-framework.readthedocs.io.

Nothing but the standard library, since the launcher of jobs reads it without the package.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def numbers(text: str) -> "Iterator[int]":
    """The numbers of a set of ids.

    Example:
        >>> list(numbers("0-2,7"))
        [0, 1, 2, 7]
    """
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def hosts(text: str) -> "Iterator[str]":
    """The names of a list of hosts.

    Example:
        >>> list(hosts("login,node[08-10,12]-ib"))
        ['login', 'node08-ib', 'node09-ib', 'node10-ib', 'node12-ib']
    """
    while text:
        before, bracket, rest = text.partition("[")
        name, comma, others = before.partition(",")
        if comma or not bracket:
            yield name
            text = others + bracket + rest if comma else ""
            continue
        within, _, rest = rest.partition("]")
        after, _, text = rest.partition(",")
        for part in within.split(","):
            first, _, last = part.partition("-")
            for number in range(int(first), int(last or first) + 1):
                yield f"{before}{number:0{len(first)}d}{after}"


def part_of(text: str, ranks: "list[int]", cores: int, gpus: int) -> "dict[str, Any]":
    """So much of each of these nodes of a resource set, as a resource set.

    Parameters:
        text: the whole.
        ranks: of the nodes.
        cores: how many of each, the first ones.
        gpus: the same.
    """
    execution = json.loads(text)["execution"]
    entries, places = {}, {}
    for entry in execution["R_lite"]:
        for rank in numbers(entry["rank"]):
            places[rank] = entry["children"]
    names = dict(zip(sorted(places), (name for part in execution["nodelist"] for name in hosts(part)), strict=False))
    for rank in sorted(ranks):
        children = {"core": _first(places[rank]["core"], cores)}
        if gpus:
            children["gpu"] = _first(places[rank].get("gpu", ""), gpus)
        entries[rank] = {"rank": str(rank), "children": children}
    return {
        "version": 1,
        "execution": {
            "R_lite": list(entries.values()),
            "nodelist": [names[rank] for rank in entries],
            "starttime": 0.0,
            "expiration": 0.0,
        },
    }


def _first(ids: str, count: int) -> str:
    return ",".join(map(str, list(numbers(ids))[:count]))
