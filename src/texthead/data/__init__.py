"""Labelled files -> datasets, splits and batches of clips.

dataset          items with labels, splits and groups
labels           what a model is asked about each file; labels as text; the shares of classes
sources          check that a data source exists, without reading it
data_file        the YAML file that describes data
reading          read a dataset from class folders, a manifest, a list or shards
manifest         tables (CSV, TSV) -> items
published_lists  the list formats of Text4Vis, ActionCLIP and ViFi-CLIP
splits           seeded draws: K-shot, fractions, held-out items
division         divide a dataset into training, validation and scored items
sampling         frame indices and crop positions
protocol         test settings: frames, sizes, views, pooling
transforms       crop, flip and grey a clip
clips            datasets for the data loaders; the batches of an epoch
prepare          decode videos once, into shards
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
