"""Predictions of millions of files by many processes.

command      texthead bulk
bulk         millions of files, in slices, by any number of processes
bulk_on_ray  the same slices on a Ray cluster
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
