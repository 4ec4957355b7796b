"""Add, rename and remove the classes of a run.

command      texthead classes
class_edits  add, rename and remove classes
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
