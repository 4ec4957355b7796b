"""Predict classes for files and events in videos.

predict          predict classes for files
formats          predictions as JSON and CSV
prediction_file  a CSV or JSON-lines file of predictions that a later call continues
run_evaluation   score a run on labelled items, beside baselines
run_report       write the report of a run from labelled items
run_calibration  calibrate a run on labelled items
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
