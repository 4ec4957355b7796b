"""Add, rename, remove and merge the classes of a run.

command      texthead classes
class_edits  add, rename, remove and merge classes
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
