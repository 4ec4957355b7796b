"""Fine-tune a model on clips.

train        the loop, top to bottom
execution    what `train` is given: how to run, whom to call, what to write down
start        checks and the run folder, before the first step
inputs       training clips: pixels, or features of a frozen encoder
step         the forward and backward pass on one process or several: DDP, FSDP2
precision    what "auto" becomes: a trial of both precisions
tune         which weights of the encoder are trained
optimizer    AdamW with two learning rates
checkpoints  what a stopped run resumes from
fit_recipe   a recipe fitted to the data and the encoder
matching     Eq. 2: texts of a batch in place of all classes
tensorboard  metrics for TensorBoard
"""
