"""Events over time in videos and streams.

command   texthead timeline
inputs    what names a stream
streams   a pipe, camera or address -> frames with their times
timeline  class probabilities over time, from a sliding window
events    events from probabilities over time
overlay   write a video with its events drawn on it
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
