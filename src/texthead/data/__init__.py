"""Labelled files -> datasets, splits and batches of clips.

dataset          items with labels, splits and groups
sources          sources by their names, without reading them
reading          read a dataset from class folders, a manifest, a list, shards or a hub
published_lists  the list formats of Text4Vis, ActionCLIP and ViFi-CLIP
hub              Hugging Face datasets -> files with labels
label_studio     tasks of Label Studio -> files with labels, and out again
fiftyone         JSON of FiftyOne -> files with labels, and out again
splits           seeded draws: K-shot, fractions, held-out items, unseen classes
division         which items train, validate and are scored
sampling         which frames and crops: pure integers
protocol         how an item is read in testing: sizes, views, pooling
transforms       one crop and flip a clip
clips            the datasets of data loaders
batches          which clips are in which batch of an epoch
prepare          decode once: videos -> shards
"""
