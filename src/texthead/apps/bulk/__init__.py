"""Predictions of millions of files on Ray.

command  texthead bulk
bulk     files -> Parquet files of predictions, on a Ray cluster or on a temporary one of this machine
cluster  connect to Ray
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
