"""Run folders: trained models on disk.

saved         read the metadata of a run without torch
folder        write the files of a run, and read them with their sizes checked
split         the items that a run was trained on, and those that may score or calibrate it
metrics       metrics.jsonl
scores        scores.json: the final scores
hub           load runs from a hub; names of runs on hubs
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
