"""open_clip encoders, by tag or by file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from texthead.errors import EncoderError
from texthead.towers import Encoder, Visual, VisualSpec


def load_openclip(source: str, rest: str) -> Encoder:
    """An open_clip model by tag (through the hub's client and its cache) or by file."""
    import open_clip

    name, _, weights = rest.partition("/")
    if name not in open_clip.list_models():
        raise EncoderError(f"open_clip has no architecture {name!r}; open_clip.list_models() names them")
    if not weights:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none published"
        raise EncoderError(f"{source!r} names no weights: use 'openclip:{name}/TAG' (tags: {tags}) or a file")
    is_tag = weights in open_clip.list_pretrained_tags_by_model(name)
    if not is_tag and not Path(weights).is_file():
        raise EncoderError(f"{weights!r} is neither a tag of {name} nor a file: check the path")
    # OpenAI's weights need QuickGELU. Of a tag open_clip knows it, but only warns; a file's name has to say it.
    if is_tag:
        quick = bool(open_clip.get_pretrained_cfg(name, weights).get("quick_gelu", False))
    else:
        quick = "openai" in Path(weights).name.lower()
    try:
        # Typed as Any: open_clip's models declare nothing of what is used here.
        model: Any = open_clip.create_model(
            name, pretrained=weights, require_pretrained=True, force_quick_gelu=quick, weights_only=True
        )
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        remedy = "check the weights or the connection"
        raise EncoderError(f"{source!r} cannot be loaded ({problem}); {remedy}") from error
    model.eval()
    size = model.visual.image_size
    config = open_clip.get_model_preprocess_cfg(model)
    uses_quick = any("QuickGELU" in type(module).__name__ for module in model.visual.modules())
    spec = VisualSpec(
        source=source,
        architecture=f"openclip:{name}",
        dim=int((open_clip.get_model_config(name) or {})["embed_dim"]),
        size=int(size[0] if isinstance(size, tuple | list) else size),
        crop=1.0,
        interpolation=config.get("interpolation", "bicubic"),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        activation="quick_gelu" if uses_quick else "gelu",
        channels_last=False,
        any_size=False,
    )

    def encode(prompts: Sequence[str]) -> Tensor:
        limit = model.context_length
        padding = tokenizer([""], context_length=4 * limit)[0, -1]
        for prompt in prompts:
            # The tokenizer cuts silently at its limit, so it is asked with a longer one.
            used = int((tokenizer([prompt], context_length=4 * limit)[0] != padding).nonzero().max()) + 1
            if used > limit:
                raise EncoderError(f"prompt {prompt[:40]!r}... has {used} tokens > {limit}: shorten it")
        return model.encode_text(tokenizer(list(prompts)))

    scale = float(model.logit_scale.detach().exp())
    return Encoder(Visual(model.visual, spec), lambda: encode, scale=scale)
