"""The folder that a model lives in.

saved         what a run folder says of itself, without torch
run           load a run, and give it other classes
folder        the files of a run: write, and read with their sizes checked
metrics       metrics.jsonl
scores        the final score, as the folder keeps it
scored_items  which items a run may be scored on
mixture       weights between the pretrained and the fine-tuned encoder, and their scores
imported      a published checkpoint as a run
model_card    the model card of a published or exported run
hub           runs on a hub
class_edits   add, rename, remove and merge classes
"""
