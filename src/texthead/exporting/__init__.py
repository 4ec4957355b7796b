"""What leaves texthead: a run as a folder that predicts without it, labels and guesses for other tools.

export      write the folder
scorer      what the exported model computes: crops, encoder, temporal module, head
parity      compare its probabilities with the run's
int8        weights of eight bits
card        the sections of the model card about an exported folder
exported    predictions of such a folder without torch
standalone  the folder's predict.py: numpy, av and onnxruntime alone
labelling_tools  labels and guesses for Label Studio and FiftyOne
"""
