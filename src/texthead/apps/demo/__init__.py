"""The demo: drawn videos, and heads compared on them.

command       texthead demo
drawn_videos  draw labelled videos of objects in motion
experiment    train and score each head, fine-tune, report
"""
