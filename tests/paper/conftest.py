"""Videos to train on in one process and in several."""

from ranked import data, val

__all__ = ["data", "val"]
