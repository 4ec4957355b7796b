"""Search a folder of videos and images by words or by example.

index   the features of a folder's windows, in one file
search  rank the windows of an index by a query
chance  what words fit a folder by chance
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
