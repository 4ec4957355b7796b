"""Labelled data from Label Studio, and files for it.

tasks            Label Studio tasks -> labelled files
labelling_tools  labels and guesses for Label Studio
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
