"""A run -> a folder that predicts without texthead.

export      write the folder
scorer      what the exported model computes: crops, encoder, temporal module, head
parity      compare its probabilities with the run's
int8        weights of eight bits
model_card  the folder's README.md
exported    predictions of such a folder without torch
standalone  the folder's predict.py: numpy, av and onnxruntime alone
"""
