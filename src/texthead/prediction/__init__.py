"""New files -> classes and events.

predict      predict classes for files
formats      predictions as JSON and CSV
bulk         millions of files in parts, by any number of processes
bulk_on_ray  the same parts on a Ray cluster
timeline     a window that slides over a video, each frame encoded once
events       scores over time -> events: pure numbers
overlay      a video with its events drawn in
soundtrack   the sound of a video, for the overlay
"""
