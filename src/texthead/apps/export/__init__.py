"""A run as a folder that predicts without texthead, or as a repository on a hub.

command     texthead export
export      write the folder
parity      compare the exported model with the run
model_card  the model card of an exported or uploaded run
scorer      the exported module: crops, encoder, temporal module, head
upload      upload a run to a hub, with its model card
standalone  the folder's predict.py, which needs only numpy, pillow, av and onnxruntime
"""
