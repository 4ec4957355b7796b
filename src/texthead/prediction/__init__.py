"""Predict classes for files and events in videos.

predict         predict classes for files
formats         predictions as JSON and CSV
run_evaluation  score a run on labelled items, beside baselines
bulk            millions of files, in parts, by any number of processes
bulk_on_ray     the same parts on a Ray cluster
timeline        class probabilities over time, from a sliding window
events          events from probabilities over time
overlay         write a video with its events drawn on it
"""
