"""Connect to Ray: to the cluster at RAY_ADDRESS, or to a temporary one that only this machine reaches."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from texthead.errors import RunError, raising
from texthead.extras import needs


@contextmanager
def cluster() -> Iterator[Any]:
    """Return the module `ray`, connected; shut down the cluster on exit if it was started here.

    Raises:
        RunError: Ray is not installed or cannot start.
    """
    # Ray would send usage statistics, report each step on stderr, and a cluster started here would serve other
    # machines. It reads the last two variables at its import.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "WARNING")
    address = os.environ.get("RAY_ADDRESS", "local")
    if address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with needs("ray", "bulk"):
        import ray
        import ray.data
    own = not ray.is_initialized()
    if own:
        # Even without statistics, Ray asks three clouds by HTTP whether it runs there; this proxy does not exist.
        proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""} if address == "local" else {}
        # A process of Ray that does not start is a bare Exception.
        faults = raising(RunError, "Ray cannot start", "check RAY_ADDRESS, the address of the cluster", Exception)
        with faults, patch.dict(os.environ, proxies):
            ray.init(address, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    # It warns that there are no progress bars; other warnings, such as of too small a cluster, stay.
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    try:
        with ray.data.DataContext.current(context):
            yield ray
    finally:
        if own:
            ray.shutdown()
