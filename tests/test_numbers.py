"""Numbers of README and docs are those of the table that they repeat or speak of, rounded as they are written."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parents[1]
# A page and its sentence ("..." stands for words), then the source: "[FILE# ]SECTION: PLACES", BENCHMARKS.md without FILE. A place is
# a sentence too, or "ROW @ COLUMNS" (a cell's first number, 1.2: its third, 1.m: the mean), "ROW > LOWER ROW @ ..." or "PLACE - PLACE".
SENTENCES = """
README.md: `mini`, {} times as many images
  Peers: `mini` | DataLoader @ 3
README.md: read {} to {} times as fast as by torchcodec
  Reading clips: texthead on video, GOP 12 / torchcodec @ 1; texthead on video, GOP 250 / torchcodec @ 1
docs/explanation/evidence.md: {} times as many clips per CPU-second as decord, {} times as many as torchcodec ... read {} times as fast
  Reading clips: texthead on video, GOP 12 / decord @ 1; texthead on video, GOP 12 / torchcodec @ 1; texthead shards, decoding only / texthead on video, GOP 250 @ 1
docs/how-to/speed.md: {} to {} times as many frames per CPU-second with `mini`, {} times with a ViT
  Engines: `mini`, 128 | onnx @ 3; `mini`, 224 | onnx @ 3; `openclip:ViT-B-32`, 224 | onnx @ 3
docs/explanation/evidence.md: | text-probe | {} | {} | {} | {} | {} | {} | | lead, in points | {} | {} | {} | {} | {} | {} |
README.md: | `texthead train` | {} | {} | {} | {} | {} | {} | | lead, mean of the sets | {} | {} | {} | {} | {} | {} |
  Few labels, frozen encoder: text-probe @ 1 2 3 4 5 6; lead over the best plain one @ 1 2 3 4 5 6
README.md: | lead, worst to best set | {} to {} | {} to {} | {} to {} | {} to {} | {} to {} | {} to {} |
  Few labels, frozen encoder: lead over the best plain one @ 1.1 1.2 2.1 2.2 3.1 3.2 4.1 4.2 5.1 5.2 6.1 6.2
BENCHMARKS.md: (the default) | {} | {} | {} | {} | {} | {} | ... features of length 1 | {} | {} | {} | {} | {} | {} | ... () | {} | {} | {} | {} | {} | {} | ... - | {} | {} | {} | {} | {} | ... in each set | {} ({} to {}) | {} ({} to {}) | {} ({} to {}) | {} ({} to {}) | {} ({} to {}) | {} ({} to {}) |
  Few labels, frozen encoder: text-probe @ 1 2 3 4 5 6; C = 10 @ 1 2 3 4 5 6; plain @ 1 2 3 4 5 6; CV @ 2 3 4 5 6; lead over the best plain one @ 1 1.1 1.2 2 2.1 2.2 3 3.1 3.2 4 4.1 4.2 5 5.1 5.2 6 6.1 6.2
README.md: flying objects gain {} points, clothing {}, objects {}, groceries {} ... tricks ({} to {} points), and mislead on infrared clips ({}; with two labels {})
docs/index.md: flying objects {}, clothing {}, objects {}, groceries {} points ... hand signs {}, ... tricks {} | ... infrared clips {}, with two labels {}
  Few labels, frozen encoder: airborne | 1 @ 8; clothing | 1 @ 8; objects | 1 @ 8; grocery | 1 @ 8; handdigits | 1 @ 8; skate | 1 @ 8; thermal | 1 @ 8; thermal | 2 @ 8
README.md: the mean over classes is {} to {} points ahead of the best balanced
BENCHMARKS.md: the mean over classes is {} to {} points ahead of the best balanced
  Unbalanced labels: objects | 2/20 @ 3 - objects | 2/20 @ 6; clothing | 2/20 @ 3 - clothing | 2/20 @ 6
README.md: {} to {} points of mAP on mosaics of objects; on other sets {} to {}
BENCHMARKS.md: {} to {} points of mAP ahead of ... on eight other sets {} to {}
  Several labels per file: objects | 1 | @ 10; objects | 8 @ 10; thermal | 1 @ 10; objects 0-3 | 1 | @ 10
docs/explanation/evidence.md: | hand signs | 40 | {} | {} | {} | ... to 40 | {} | {} | {} | ... 40 | {} | {} | {} | ... 20 | {} | {} | {} | ... to 32 | {} | {} | {} | ... 69 | {} | {} | not run; on 46 held-out training items {}, text-probe {} | Fine-tuning gains {} points on hand signs, ... and {} on objects
  Fine-tuning or a frozen encoder: handdigits @ 3 4 5; objects @ 3 4 5; clothing @ 3 4 5; airborne @ 3 4 5; exercise @ 3 4 5; skate @ 3 4; fine-tuning has {} % right and the text-probe {} %; handdigits @ 5 - handdigits @ 3; objects @ 5 - objects @ 3
README.md: data sets {} to {} labels do
BENCHMARKS.md: {} to {} labels chosen by
  What to label next: objects | texthead @ 6; exercise | texthead @ 6
docs/explanation/evidence.md: needs {} ±{} labels on clothing, {} ±{} on objects, {} ±{} on gym exercises, {} ±{} on hand signs
  What to label next: clothing | texthead @ 6 6.1; objects | texthead @ 6 6.1; exercise | texthead @ 6 6.1; handdigits | texthead @ 6 6.1
docs/how-to/label.md: background ({} ms for 5,000 files) ... by {} to {} points on six ... within {} points on five ... and {} points too low on the sixth; with 20 labels it was up to {} points
  Estimates on the page of `texthead label`: a fit {} ms; objects | 40 @ 4 - objects | 40 @ 2; airborne | 40 @ 4 - airborne | 40 @ 2; exercise | 40 @ 4 - exercise | 40 @ 3; airborne | 40 @ 4 - airborne | 40 @ 3; airborne | 20 @ 4 - airborne | 20 @ 3
docs/how-to/few-labels.md: | text-probe, top-1 | {} | {} | {} | {} | {} | | `predict --unlabelled` | {} ±{} | {} ±{} | {} ±{} | {} ±{} | {} ±{} | | `train --unlabelled` | {} ±{} | {} ±{} | {} ±{} | {} ±{} | {} ±{} |
  Unlabelled files: text-probe | mean @ 3 4 5 6 7; text-probe | mean > | | alone @ 1 1.1 2 2.1 3 3.1 4 4.1 5 5.1; text-probe | mean > | | later @ 1 1.1 2 2.1 3 3.1 4 4.1 5 5.1
docs/explanation/evidence.md: gain {} to {} points, mean of six sets, from 8 on nothing; zero-shot they gain {}. ... is below {}.
BENCHMARKS.md: 1 or 2 labels per class {} to {} points, from 8 on nothing; {} zero-shot; ... is below {} if
  Unlabelled files: text-probe | mean > | | batch @ 1 2; mean of 6 {} (before; probe | clothing | 1 | 2 @ 4
docs/explanation/evidence.md: {} ±{} on drawn objects, {} ±{} on flying objects; {} ±{} and {} ±{} with
BENCHMARKS.md: F1 {} ±{} (drawn) and {} ±{} (airborne); {} ±{} and {} ±{} with
  Timeline: drawn | 12 | h @ 3 3.1; airborne | 12 | h @ 3 3.1; drawn | 12, unknown clips between | h @ 3 3.1; airborne | 12, unknown clips between | h @ 3 3.1
docs/explanation/evidence.md: zero-shot, no training | {} | {} | | text rows, frozen | {} ±{} | {} ±{} | | orthogonal rows, frozen | {} ±{} | {} ±{} | | learned rows | {} ±{} | {} ±{} |
  Demo: zero-shot @ 1 2; text, frozen @ 1 1.1 2 2.1; orthogonal @ 1 1.1 2 2.1; vision-only @ 1 1.1 2 2.1
docs/explanation/evidence.md: by {} to {} points for heads trained on the drawn videos, by {} to {} on clothing ... of {} to {} % of the items on average ... rejects {} to {} % of the known ones
  docs/archive/benchmarks.md# Calibration: drawn | all | text @ 6; drawn | all | log @ 6; clothing | all | text @ 6; clothing | 5 | zero @ 6; airborne | 5 | text @ 9; airborne | all | text @ 9; set | K | method | unknown > clothing | all | log @ 6; set | K | method | unknown > clothing | all | zero @ 6
docs/how-to/find.md: {} of 100 were said to stand out, at most {} in one ... {} of 100 stand out. ... {} % in films of flying objects, {} % on gym ... folders is {}; after 10, 20 and 40 marks it is {}, {} and {} ... for {} to {} of 100 queries ... in {} to {} of 100 cases
  Search: together @ 1; airborne | 13 % @ 1; together @ 3; airborne @ 5; exercise @ 5; mean @ 2 3 3.1 3.2 6.1 6; exercise 90 said, {} true; objects 97 said, {} true
BENCHMARKS.md: photos {} to {} ({} to {} if 10 % of each side is cut off); clips: {} to {} |
docs/how-to/check-data.md: `doctor` finds {} to {}, also on ... by 10 % {} to {}, and of clips, exact copies aside, {} to {}.
  Copies planted in the other split: imagenet | no | 4 % @ 6; imagenet | no | mirrored @ 6; clothing | yes | 10 % @ 6; imagenet | no | 10 % @ 6; airborne | yes | saved @ 6; skate | no | brighter @ 6
docs/how-to/check-data.md: finds {} of {} planted swaps ... and {} of {} in 160 clips
  Swapped class names: clothing @ 4 3; airborne @ 4 3
BENCHMARKS.md: 5 % wrong labels {} to {} % are in the first tenth ... lists {} to {} % of them, {} to {} % of the list
docs/how-to/check-data.md: the ranking has {} to {} % of them ... {} to {} %, and {} to {} % of the listed
  Wrong labels: clothing | similar @ 4; objects | random @ 4; grocery | similar @ 7; objects | random @ 7; clothing | similar @ 6; grocery | similar @ 6
docs/explanation/paper.md: | class name | {} ±{} | ... template | {} ±{} | {} ±{} | ... in training | {} ±{} | {} ±{} | ... template | {} ±{} | {} ±{} |
  paper/RESULTS.md# Table 4: class name @ 1 1.1; one template @ 1 1.1 2 2.1; several @ 1 1.1 2 2.1; learnable @ 1 1.1 2 2.1
docs/how-to/video-encoders.md: | mean of all tokens, logistic regression | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... is {} to {} points ahead of the mean ... is {} ahead of it ... and {} to {} ahead of `attentive` ... is {} to {} points ahead of `attentive`, ... lose {} to {} points.
  benchmarks/motion.json# names/orders: mean, logistic @ 1.m 2.m 3.m 4.m; steps, logistic @ 1.m 2.m 3.m 4.m; steps, attentive, learned @ 1.m 2.m 3.m 4.m; grid, attentive, learned @ 1.m 2.m 3.m 4.m; grid, attentive, text @ 1.m 2.m 3.m 4.m; steps, V-JEPA 2's, learned @ 1.m 2.m 3.m 4.m; steps, V-JEPA 2's, text @ 1.m 2.m 3.m 4.m; grid, V-JEPA 2's without self-attention, learned @ 1.m 2.m 3.m 4.m; steps, logistic @ 2.m - mean, logistic @ 2.m; steps, logistic @ 4.m - mean, logistic @ 4.m; steps, V-JEPA 2's, learned @ 4.m - mean, logistic @ 4.m; steps, V-JEPA 2's, learned @ 3.m 4.m - steps, attentive, learned @ 3.m 4.m; grid, V-JEPA 2's without self-attention, text @ 4.m - grid, attentive, text @ 4.m; steps, V-JEPA 2's, text @ 4.m - steps, attentive, text @ 4.m; mean, linear, learned @ 1.m - mean, linear, 40 steps, learned @ 1.m; mean, linear, learned @ 3.m - mean, linear, 40 steps, learned @ 3.m
docs/how-to/tune.md: centered on the 40 photos, reaches {} %. ... recipe's rate | {} ({}-{}) | {} ({}-{}) | {} ({}-{}) | {} ({}-{}) | ... not searched | {} ({}-{}) at 3e-2 | {} ({}-{}) at 1e-3 | ... seconds | {} | {} | {} | {} | ... of 0.5 reaches {} % instead of the {} %
  docs/decisions.md# Training: zero-shot @ 2.m; all, 3e-4 | @ 2.m 2.2 2; norm, 3e-4 @ 2.m 2.2 2; projection, 3e-4 @ 2.m 2.1 2; none @ 2.m 2.2 2; norm, 3e-2 @ 2.m 2.1 2; projection, 1e-3 @ 2.m 2.2 2; all, 3e-4 | @ 3.m; norm, 3e-4 @ 3.m; projection, 3e-4 @ 3.m; none @ 3.m; all, 3e-4, mix @ 2.m; all, 3e-4 | @ 2.m
"""
NUMBER = r"([-+]?\d+(?:\.\d+)?)"


def pattern(sentence: str) -> str:
    return re.escape(sentence).replace(r"\{\}", NUMBER).replace(r"\ \.\.\.\ ", ".*?")


def lines(source: str) -> list[str]:
    name, _, section = source.rpartition("# ")
    text = (ROOT / (name or "BENCHMARKS.md")).read_text("utf-8")
    if name.endswith(".json"):
        rows = json.loads(text)[section]
        return ["| ".join(["", row, *(" ".join(map(str, draws)) for draws in rows[row].values())]) for row in rows]
    return re.split(r"\n#+ ", re.split(rf"(?m)^#+ {re.escape(section)}(?!\w).*", text)[1])[0].splitlines()


def values(part: list[str], place: str) -> list[float]:
    if "{}" in place:
        (numbers,) = re.finditer(pattern(place), " ".join(part))
        return [float(number) for number in numbers.groups()]
    rows, columns = place.split(" @ ")
    for row in rows.split(" > "):
        part = part[next(at for at, line in enumerate(part) if line.startswith(f"| {row}")) :]
    numbers = []
    for column, _, nth in (name.partition(".") for name in columns.split()):
        cell = [float(number) for number in re.findall(NUMBER, part[0].strip("| ").split("|")[int(column)])]
        numbers.append(fmean(cell) if nth == "m" else cell[int(nth or 0)])
    return numbers


def cells(source: str, places: str) -> Iterator[float]:
    for place in places.split("; "):
        first, *others = (values(lines(source), term) for term in place.split(" - "))
        yield from (a - b for a, b in zip(first, *others, strict=True)) if others else first


@pytest.mark.parametrize(("sentences", "source", "places"), re.findall(r"((?:\n\S.+)+)\n  (.+?): (.+)", SENTENCES))
def test_numbers_are_those_of_the_table(sentences: str, source: str, places: str) -> None:
    for page, sentence in (line.split(": ", 1) for line in sentences.split("\n")[1:]):
        text = " ".join((ROOT / page).read_text("utf-8").replace("**", "").split())
        (stated,) = re.finditer(pattern(sentence), text)
        for number, cell in zip(stated.groups(), cells(source, places), strict=True):
            assert round(cell, len(number.partition(".")[2])) == float(number)
