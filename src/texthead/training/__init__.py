"""Fine-tune a model on clips.

train        the training loop
execution    options of `train`: execution, metadata of the run
start        validate the inputs and create the run folder
inputs       features of a frozen encoder for training
step         forward and backward pass on one or several processes (DDP)
precision    choose the precision for "auto" by a trial
tune         select the encoder weights to train
optimizer    AdamW with two learning rates
checkpoints  write and load checkpoints
fit_recipe   adapt a recipe to the data and the encoder
matching     matching loss of Eq. 2: against the texts of a batch, not all classes
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
