"""Check a data set before training.

command           texthead doctor
encoder_findings  findings that need an encoder, such as classes whose names look swapped
examine           everything, in one call; the findings as JSON and HTML
file_stats        properties of one file, without a model
findings          findings about files, splits and class names; lists without bad items
near_duplicates   pairs of files that look alike
wrong_labels      labels that look wrong
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
