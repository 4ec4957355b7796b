"""The demo's data.

drawn_videos  draw labelled videos of objects in motion
"""
