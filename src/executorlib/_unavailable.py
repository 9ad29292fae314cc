"""What this release names but cannot do yet."""


def unavailable(what: str) -> NotImplementedError:
    """The error for a public name, parameter or resource key whose part of the package is still to come."""
    return NotImplementedError(f"{what} is not available in this release of executorlib")
