"""Process groups under torchrun, data loaders and devices.

distributed  ranks, shares, gathers and sums over a process group
loaders      data loaders, errors for workers that die or hang
startup      the server that forks loader workers; freed memory
caller       leave a caller's random state, default dtype and environment as they were
progress     progress, messages and metrics for the caller
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
