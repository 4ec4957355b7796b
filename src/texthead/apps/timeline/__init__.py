"""Events over time in videos.

command   texthead timeline
timeline  class probabilities over time, from a sliding window
events    events from probabilities over time
results   the events of a video, and the files they are saved to
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
