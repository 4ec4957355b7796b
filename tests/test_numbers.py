"""Numbers of README and docs are those of the table that they repeat or speak of, rounded as they are written."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Pages with a sentence each; a section of BENCHMARKS.md, and row @ columns: a cell's first number, or (1.2) its third.
SENTENCES = """
README.md: `mini`, {} times as many images
  Peers: `mini` | DataLoader @ 3
README.md: read {} to {} times as fast as by torchcodec
  Reading clips: texthead on video, GOP 12 / torchcodec @ 1; texthead on video, GOP 250 / torchcodec @ 1
README.md: data sets {} to {} labels do
  What to label next: objects | texthead @ 6; exercise | texthead @ 6
docs/how-to/few-labels.md: | text-probe | {} | {} | {} | {} | {} | {} | | ahead by | {} | {} | {} | {} | {} | {} |
docs/explanation/evidence.md: | text-probe | {} | {} | {} | {} | {} | {} | | lead, in points | {} | {} | {} | {} | {} | {} |
README.md: | `texthead train` | {} | {} | {} | {} | {} | {} | | lead, mean of the sets | {} | {} | {} | {} | {} | {} |
  Few labels, frozen encoder: text-probe @ 1 2 3 4 5 6; lead over the best plain one @ 1 2 3 4 5 6
README.md: | lead, worst to best set | {} to {} | {} to {} | {} to {} |
  Few labels, frozen encoder: lead over the best plain one @ 1.1 1.2 2.1 2.2 3.1 3.2
README.md: flying objects gain {} points, clothing {}, objects {}, groceries {}
docs/index.md: flying objects {}, clothing {}, objects {}, groceries {} points
  Few labels, frozen encoder: airborne | 1 @ 8; clothing | 1 @ 8; objects | 1 @ 8; grocery | 1 @ 8
docs/explanation/evidence.md: {} times as many clips per CPU-second as decord, {} times as many as torchcodec
  Reading clips: texthead on video, GOP 12 / decord @ 1; texthead on video, GOP 12 / torchcodec @ 1
docs/explanation/evidence.md: shards are read {} times as fast
  Reading clips: texthead shards, decoding only / texthead on video, GOP 250 @ 1
docs/explanation/evidence.md: needs {} ±{} labels on clothing, {} ±{} on objects, {} ±{} on gym exercises, {} ±{} on hand signs
  What to label next: clothing | texthead @ 6 6.1; objects | texthead @ 6 6.1; exercise | texthead @ 6 6.1; handdigits | texthead @ 6 6.1
docs/explanation/evidence.md: {} ±{} on drawn objects, {} ±{} on flying objects; {} ±{} and {} ±{} with
  Timeline: drawn | 12 | h @ 3 3.1; airborne | 12 | h @ 3 3.1; drawn | 12, unknown clips between | h @ 3 3.1; airborne | 12, unknown clips between | h @ 3 3.1
docs/reference/engines.md: {} to {} times as many frames per CPU-second with `mini`, {} times with a ViT
  Engines: `mini`, 128 | onnx @ 3; `mini`, 224 | onnx @ 3; `openclip:ViT-B-32`, 224 | onnx @ 3
docs/explanation/evidence.md: zero-shot, no training | {} | {} | | text rows, frozen | {} ±{} | {} ±{} |
  Demo: zero-shot @ 1 2; text, frozen @ 1 1.1 2 2.1
"""
NUMBER = r"([-+]?\d+(?:\.\d+)?)"


def cells(section: str, places: str) -> list[float]:
    text = (ROOT / "BENCHMARKS.md").read_text("utf-8")
    part, numbers = re.split(r"\n#+ ", text.partition(f"# {section}\n")[2])[0], []
    for row, columns in (place.split(" @ ") for place in places.split("; ")):
        line = next(line for line in part.splitlines() if line.startswith(f"| {row}"))
        for column, _, nth in (name.partition(".") for name in columns.split()):
            cell = line.strip("| ").split("|")[int(column)]
            numbers.append(float(re.findall(NUMBER, cell)[int(nth or 0)]))
    return numbers


@pytest.mark.parametrize(("sentences", "section", "places"), re.findall(r"((?:\n\S.+)+)\n  (.+): (.+)", SENTENCES))
def test_numbers_are_those_of_the_table(sentences: str, section: str, places: str) -> None:
    for page, sentence in (line.split(": ", 1) for line in sentences.split("\n")[1:]):
        text = " ".join((ROOT / page).read_text("utf-8").replace("**", "").split())
        (stated,) = re.finditer(re.escape(sentence).replace(r"\{\}", NUMBER), text)
        for number, cell in zip(stated.groups(), cells(section, places), strict=True):
            assert round(cell, len(number.partition(".")[2])) == float(number)
