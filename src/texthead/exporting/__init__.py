"""Export runs as folders that predict without texthead, and labels for other tools.

export      write the folder
scorer      the exported module: crops, encoder, temporal module, head
parity      compare the exported model with the run
int8        quantise the weights to 8 bits
card        the model card's sections about the export
standalone  the folder's predict.py, which needs only numpy, pillow, av and onnxruntime
labelling_tools  labels and guesses for Label Studio
"""
