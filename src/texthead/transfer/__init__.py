"""Classifiers from few labels on a frozen encoder.

linear_probes linear heads without a training loop: a logistic probe, and text rows with labelled items
multilabel    multi-label heads: fit, probabilities, threshold
experiment    items, a frozen encoder, class names and a recipe; methods are fitted and scored on them
methods       cross-validation of the methods, and what suits the items
baselines     score zero-shot and a probe as baselines of a run
comparison    compare the methods
choice        choose an encoder
transductive  refine the scores of a batch with its unlabelled files
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
