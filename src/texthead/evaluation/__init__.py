"""Metrics with confidence intervals, calibration and saliency.

evaluate       scores of a model and exact counts
intervals      confidence intervals of rates and differences
class_sizes    classes of different sizes: the mean over classes, and rare ones
confusions     confused classes, and the similarity of their head rows
reliability    bins and the expected calibration error
calibration    temperature, rejection threshold, prediction sets
broader_names  answers with broader names, and their counts
frame_order    accuracy with shuffled and reversed frames
saliency       occlusion maps: which regions of the frames a prediction depends on
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
