"""Leave a caller's process as it was: its random numbers, its precision, its environment."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def apart_from_caller() -> Iterator[None]:
    """Run in exact float32, without autocast, and restore the random states and the environment; also a decorator.

    Public functions get it in `texthead/__init__.py`; public methods that encode need it themselves. Building a network
    draws from torch's generator even if its weights are loaded afterwards, and imported packages set variables of
    OpenMP (KMP_*).
    """
    dtype, drawn, names = torch.get_default_dtype(), random.getstate(), {*os.environ}
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    # `torch.set_float32_matmul_precision` fails if the caller has set one backend by itself.
    backends: Any = torch.backends
    backends = backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv
    precisions = [backend.fp32_precision for backend in backends]
    torch.set_default_dtype(torch.float32)
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        autocasts = (torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda"))
        with torch.random.fork_rng(gpus), next(autocasts), next(autocasts):
            yield
    finally:
        torch.set_default_dtype(dtype)
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        random.setstate(drawn)
        for name in {*os.environ} - names:
            if name.startswith("KMP_"):
                del os.environ[name]
