"""Runs from published checkpoints of Text4Vis, BIKE and others.

command         texthead import
imported        import a published checkpoint as a run
published       checkpoints of Text4Vis, ActionCLIP, ViFi-CLIP and BIKE
spotting_head   a head that weighs frames per class: BIKE's video concept spotting
temporal        temporal modules of published classifiers, with which training cannot start
templates_head  heads with several rows per class, and one that averages the probabilities of templates: ActionCLIP's
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
