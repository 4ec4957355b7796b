"""Metrics with confidence intervals, and calibration.

evaluate           features of views -> scores of a model
results            the scores of a test: exact counts, mAP and F1 of multi-label data
intervals          confidence intervals of rates and differences
summary            the result of a test in words: a sentence, and what is weak
classes            results of single classes: recall, precision, confused pairs
reliability        bins and the expected calibration error
calibration        temperature, rejection threshold, prediction sets, levels
broader_names      answers with a name above the class
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
