"""HTML pages and plots of a run.

html           one self-contained page
run_page       the page of a run
figures        curves and reliability plots
examples       the most confident wrong and correct predictions, with frames; small pictures
probabilities  calibration of the probabilities
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
