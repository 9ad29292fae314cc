from collections.abc import Mapping, Sequence
from os import PathLike

Readable = bytes | bytearray | memoryview

def read(path: str | PathLike[str], names: Sequence[str] | None = None) -> dict[str, bytes]: ...
def names(path: str | PathLike[str], /) -> list[str]: ...
def write(
    path: str | PathLike[str],
    fields: Mapping[str, Readable | Sequence[Readable]],
    compress: bool = False,
    sync: bool = True,
) -> None: ...
