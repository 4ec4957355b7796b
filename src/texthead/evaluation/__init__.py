"""Metrics with confidence intervals, calibration and saliency.

evaluate     scores of a model and exact counts
intervals    confidence intervals of rates and differences
confusions   confused classes, and the similarity of their head rows
reliability  bins and the expected calibration error
calibration  temperature, rejection threshold, prediction sets
frame_order  accuracy with shuffled and reversed frames
saliency     occlusion maps: which regions of the frames a prediction depends on
"""
