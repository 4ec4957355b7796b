"""Leave a caller's process as it was: its random numbers, its precision, its environment."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# The process's settings, while calls run in any of its threads: the first saves them, the last restores them.
_settings, _lock, _running = ExitStack(), threading.Lock(), list[object]()


@contextmanager
def apart_from_caller() -> Iterator[None]:
    """Run in exact float32, without autocast, and restore the random states and the environment; also a decorator.

    Public functions get it in `texthead/__init__.py`; public methods that encode need it themselves. Building a network
    draws from torch's generator even if its weights are loaded afterwards, and imported packages set variables of
    OpenMP (KMP_*). Random states are those of the process: what other threads draw meanwhile is drawn again.
    """
    call = object()
    with _lock:
        if not _running:
            _settings.enter_context(_exact())
        _running.append(call)
    try:
        autocasts = (torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda"))
        with next(autocasts), next(autocasts):
            yield
    finally:
        with _lock:
            _running.remove(call)
            if not _running:
                _settings.close()


@contextmanager
def _exact() -> Iterator[None]:
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
        with torch.random.fork_rng(gpus):
            yield
    finally:
        torch.set_default_dtype(dtype)
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        random.setstate(drawn)
        for name in {*os.environ} - names:
            if name.startswith("KMP_"):
                del os.environ[name]
