"""Fine-tune a model on clips.

train        prepare, train, validate, write the run; features of a frozen encoder
epochs       the loop over epochs and steps
start        validate the inputs and create the run folder with its metadata
step         forward and backward pass on one or several processes (DDP)
tune         select the encoder weights to train
optimizer    AdamW with two learning rates
checkpoints  write and load checkpoints
adapt_recipe adapt a recipe to the data and the encoder
objective    the loss of a recipe, and the base class of losses that packages add
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
