"""The public names of the package, imported on first use."""

from .encoder import build_visual as build_visual
from .figures import figures_of as figures_of
from .lazy import weights_key as weights_key
from .load import spec_of as spec_of
from .load import zero_shot_note as zero_shot_note
from .mini import minilm_folder as minilm_folder
from .openclip import ClipModel as ClipModel
from .weights import clip_tensors as clip_tensors
from .weights import fill as fill
from .weights import read_checkpoint as read_checkpoint
