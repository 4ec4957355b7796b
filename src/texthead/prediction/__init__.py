"""Runs: models that predict classes of files.

run              what predicts, and is scored, calibrated and reported
load             load a run, without building its network where a graph is saved; or make one of class names
predictions      predictions of files: from features and scores, as JSON and CSV
run_training     train a run: fit a method, or fine-tune the encoder
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
