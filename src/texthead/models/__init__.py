"""Features -> scores.

recognizer    encoder, temporal module and head: the model
heads         FrozenHead, TrainableHead, LinearHead, ProbeHead
head_rows     rows of a head: text, random, orthogonal, LDA
head_table    the heads by name, and those of installed packages
multilabel_head  a multi-label head: each class is a binary label
temporal      frames -> one feature: mean, transformer, attentive probes, convolutions inside the encoder
build         build the parts of a model from a recipe
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
