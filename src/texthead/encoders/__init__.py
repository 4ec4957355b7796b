"""Frames and prompts -> vectors.

encoder       Visual, Text and Encoder, and the spec that rebuilds a visual encoder
load          an encoder by its name; the table of prefixes
packages      encoders of other packages, through entry points
mini          the built-in pair, and the bridge between its halves
openclip      open_clip by tag, file or folder
hugging_face  CLIP folders in transformers' format
timm_visual   ImageNet encoders without text
text_only     text-only encoders through transformers
pairing       rows of a text-only encoder, mapped into the visual space
published     checkpoints of Text4Vis, ActionCLIP, ViFi-CLIP and BIKE
weights       tensors from other people's files, without executing them
"""
