"""Scores -> numbers with intervals.

evaluate     scores of a model and exact counts
intervals    confidence intervals of rates and differences
confusions   confused classes, and what similar rows predict of them
reliability  bins and the expected calibration error
calibration  temperature, rejection threshold, prediction sets
frame_order  the score with frames in other orders
saliency     where in its frames a prediction comes from
"""
