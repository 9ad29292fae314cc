"""What worker programs do, under the names that other packages import."""

from executorlib.backend.calls import call_funct, parse_arguments

__all__ = ["call_funct", "parse_arguments"]
