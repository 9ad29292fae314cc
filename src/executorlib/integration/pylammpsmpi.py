"""pylammpsmpi: LAMMPS in a worker, driven call by call by an object here.

Its functions take the worker's LAMMPS as parameter `lmp`, which `init_function` of their module makes. From start_lmp()
to shutdown_lmp() it belongs to one LammpsConcurrent object.

That object and those around it are told a number of cores, 1 unless the user says otherwise. By it they decide whether
a result is a plain value or a list over ranks, and in which form they send atoms; the executor they were given decides
how many ranks there are. Where the two differ an array would be taken for a list of arrays without anybody noticing. So
they are told the true number before their first call.
"""

from __future__ import annotations

from executorlib._errors import ResourceError
from executorlib._session import Library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where pylammpsmpi's classes keep the number of cores.
_TOLD = ("cores", "_cores")


class Pylammpsmpi(Library):
    opening = frozenset({"start_lmp"})
    closing = frozenset({"shutdown_lmp"})

    def agree(self, clients: list[Any], resources: dict[str, Any]) -> dict[str, Any]:
        """Make both sides have the same number of cores: the executor's if it has one, else the client's.

        Raises:
            ResourceError: if the client wants several and the executor gives one.
        """
        if not _unpacks(clients):
            return resources
        told = [(client, name) for client in clients for name in _TOLD if name in vars(client)]
        wanted = max((vars(client)[name] for client, name in told), default=1)
        if "cores" not in resources:
            return {**resources, "cores": wanted}
        given = resources["cores"]
        if given == 1 and wanted > 1:
            raise ResourceError(f"LAMMPS is to run on cores={wanted}, but the executor's resource_dict says cores=1")
        for client, name in told:
            setattr(client, name, given)
        if given > 1 and not told:
            raise ResourceError("this version of pylammpsmpi hides its number of cores: run it on one core")
        return resources

    def keywords(self, name: str, keywords: dict[str, Any]) -> dict[str, Any]:
        """Bring scatter_atoms(name, type, count, data), LAMMPS' own form, into that of pylammpsmpi's worker."""
        call = keywords.get("input_dict")
        if not isinstance(call, dict) or call.get("command") != "scatter_atoms" or len(call["args"]) != 4:
            return keywords
        quantity, _, _, data = call["args"]
        return {**keywords, "input_dict": {**call, "args": [quantity, list(data)]}}


def _unpacks(clients: list[Any]) -> bool:
    """Whether results are looked into; LammpsConcurrent alone hands out futures, as they are."""
    return len(clients) > 1 or any(kind.__name__ == "LammpsBase" for client in clients for kind in type(client).__mro__)


library = Pylammpsmpi()
