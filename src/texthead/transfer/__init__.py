"""Classifiers from few labels on a frozen encoder.

closed_form   linear heads without a training loop: a logistic probe, and text rows with labelled items
several       heads of several labels: fit, probabilities, threshold
methods       the methods on a frozen encoder, and their cross-validation
baselines     score zero-shot and a probe as baselines of a run
comparison    compare the methods, or save one as a run
run_training  train a run: fit a method, and fine-tune if that is better
transductive  refine the scores of a batch with its unlabelled files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
