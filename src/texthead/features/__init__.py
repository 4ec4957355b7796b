"""Encode once: features of files, computed and cached.

cache    features on disk, keyed by content
engine   ways to run the encoder; choose the fastest on this machine
clips    files -> features of their clips
views    files -> features of their views
frozen   a frozen encoder: labelled items, or files -> mean features
reading  how files are read: workers, batch, cache, unreadable files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
