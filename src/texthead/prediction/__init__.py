"""Runs: models that predict classes of files.

run              what predicts, and is scored, calibrated and reported
load             load a run from its folder, or make one of class names
predict          scores and predictions of files from their features
formats          predictions as JSON and CSV
run_training     train a run: fit a method, or fine-tune the encoder
run_evaluation   titles, notes and lines of the evaluation of a run
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
