"""Leave a caller's process as it was: its random numbers, its default dtype, its autocast, its environment."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def apart_from_caller() -> Iterator[None]:
    """Run in float32 and without autocast, and restore the random states and the environment; also a decorator.

    Building a network draws from torch's generator even if its weights are loaded afterwards, and imported packages set
    variables of OpenMP (KMP_*).
    """
    dtype, drawn, names = torch.get_default_dtype(), random.getstate(), {*os.environ}
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    torch.set_default_dtype(torch.float32)
    try:
        autocasts = (torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda"))
        with torch.random.fork_rng(gpus), next(autocasts), next(autocasts):
            yield
    finally:
        torch.set_default_dtype(dtype)
        random.setstate(drawn)
        for name in {*os.environ} - names:
            if name.startswith("KMP_"):
                del os.environ[name]
