"""Fine-tune a model on clips.

train        the loop, top to bottom
step         the loss of a step on one process or several: DDP, FSDP2
checkpoints  what a stopped run resumes from
fit_recipe   a recipe fitted to the data and the encoder
matching     Eq. 2: texts of a batch in place of all classes
tensorboard  metrics for TensorBoard
"""
