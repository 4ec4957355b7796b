"""The demo: drawn videos, and heads compared on them.

command       texthead demo
drawn_videos  draw labelled videos of objects in motion
experiment    train and score each head, fine-tune, report
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
