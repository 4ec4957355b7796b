"""Published classifiers of clips in transformers' format: the visual tower, and the weights behind it."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from texthead.downloads import faults
from texthead.encoders.encoder import Visual
from texthead.encoders.hugging_face import spec
from texthead.encoders.transformers_model import REMEDY, Tower, check_complete, config_of, folder_of, loaded
from texthead.errors import EncoderError


class Classifier(NamedTuple):
    """A published classifier.

    Attributes:
        visual: the tower, with its finest grid.
        config: transformers' configuration.
        tensors: the weights of pooling and classifier, by name.
        clip: normalised noise.
        logits: what transformers gives for it.
    """

    visual: Visual
    config: Any
    tensors: dict[str, Tensor]
    clip: Float[Tensor, "1 frames 3 size size"]
    logits: Float[Tensor, "1 classes"]


@torch.no_grad()
def load_classifier(source: str) -> Classifier:
    """Return the classifier in `hf:FOLDER` or `hf:ORG/NAME`.

    Raises:
        EncoderError: it is no classifier of clips, or its folder is incomplete.
    """
    rest = source.removeprefix("hf:")
    with faults(source, REMEDY):
        folder = folder_of(rest)
        config = config_of(folder)
        names = config.architectures or ["no architecture"]
        if not names[0].endswith("ForVideoClassification"):
            raise EncoderError(f"{source}: holds {names[0]}, not a classifier of videos; use it as an encoder")
        visual_spec = spec(rest)
        visual_spec = visual_spec.with_grid(visual_spec.finest or visual_spec.grid)
        model, missing = loaded(folder, source, "AutoModelForVideoClassification")
        sizes = (1, visual_spec.frames, 3, visual_spec.size, visual_spec.size)
        clip = torch.randn(sizes, generator=torch.Generator().manual_seed(0))
        logits = model(clip).logits
        prefix = f"{model.base_model_prefix}."
        tower = Tower(getattr(model, model.base_model_prefix), visual_spec)
        check_complete(model, missing, source)
        tensors = {name: value for name, value in model.state_dict().items() if not name.startswith(prefix)}
    return Classifier(Visual(tower, visual_spec).eval(), config, tensors, clip, logits)
