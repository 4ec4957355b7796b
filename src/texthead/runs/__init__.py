"""Run folders: trained models on disk.

saved         read the metadata of a run without torch
run           load a run, and give it other classes
folder        write the files of a run, and read them with their sizes checked
metrics       metrics.jsonl
scores        scores.json: the final scores
scored_items  select the items on which a run may be evaluated or calibrated
mixture       interpolate pretrained and fine-tuned encoder weights
hub           load runs from a hub; names of runs on hubs
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
