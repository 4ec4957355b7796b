"""Predict classes for files and events in videos.

predict         predict classes for files
formats         predictions as JSON and CSV
run_evaluation  score a run on labelled items, beside baselines
"""
