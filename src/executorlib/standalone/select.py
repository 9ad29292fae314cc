"""Single items of future results."""

from executorlib._select import FutureSelector, get_item_from_future, split_future

__all__ = ["FutureSelector", "get_item_from_future", "split_future"]
