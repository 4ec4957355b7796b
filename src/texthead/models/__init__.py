"""Features -> scores.

recognizer   encoder, temporal module and head: the model
heads        FrozenHead, TrainableHead, LinearHead, TemplatesHead
head_rows    rows of a head: text, random, orthogonal, LDA
prompt_head  a learnable template
spotting_head  frames weighed for each class, BIKE's video concept spotting
temporal     frames -> one feature: mean, transformer, convolutions inside the encoder
build        the parts of a model that a recipe describes
cost         parameters and multiply-adds, true and by the paper's convention
"""
