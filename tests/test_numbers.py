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
README.md: `mini`, {} to {} times as many images
  Speed against other libraries: JPEG files to features, `mini` | DataLoader @ 3 2
README.md: read {} to {} times as fast as by torchcodec
  Speed against other libraries: read 8 frames of a video, key frame every 12 frames | torchcodec @ 3; read 8 frames of a video, key frame every 250 frames | torchcodec @ 2
docs/explanation/evidence.md: {} times as many clips per CPU-second as decord, {} times as many as torchcodec ... read {} times as fast
  Speed against other libraries: read 8 frames of a video, key frame every 12 frames | decord @ 2; read 8 frames of a video, key frame every 12 frames | torchcodec @ 2; read 8 frames of a clip from shards @ 2
docs/how-to/speed.md: {} to {} times as many frames per CPU-second with `mini`, {} times with a ViT
  Speed against other libraries: encode ready frames, `mini`, 128 @ 2; encode ready frames, `mini`, 224 @ 2; encode ready frames, `openclip:ViT-B-32`, 224 @ 2
docs/explanation/evidence.md: | text-probe | {} | {} | {} | {} | {} | {} | | lead, in points | {} | {} | {} | {} | {} | {} |
README.md: | `texthead train` | {} | {} | {} | {} | {} | {} | | lead, mean of the sets | {} | {} | {} | {} | {} | {} |
  Few labels, frozen encoder: text-probe @ 1 2 3 4 5 6; lead over the best plain one @ 1 2 3 4 5 6
README.md: | lead, worst to best set | {} to {} | {} to {} | {} to {} | {} to {} | {} to {} | {} to {} |
  Few labels, frozen encoder: lead over the best plain one @ 1.1 1.2 2.1 2.2 3.1 3.2 4.1 4.2 5.1 5.2 6.1 6.2
README.md: flying objects gain {} points, clothing {}, objects {}, groceries {} ... tricks ({} to {} points), and mislead on infrared clips ({}; with two labels {})
docs/index.md: flying objects {}, clothing {}, objects {}, groceries {} points ... hand signs {}, ... tricks {} | ... infrared clips {}, with two labels {}
  Few labels, frozen encoder: airborne @ 1.2; clothing | @ 1.2; objects @ 1.2; grocery @ 1.2; handdigits @ 1.2; skate @ 1.2; thermal @ 1.2; thermal @ 2.2
README.md: the mean over classes is {} to {} points ahead of the best balanced
  Unbalanced labels: objects | 2/20 @ 3 - objects | 2/20 @ 6; clothing | 2/20 @ 3 - clothing | 2/20 @ 6
README.md: {} to {} points of mAP on mosaics of objects; on other sets {} to {}
  Several labels per file: objects | 1 | @ 10; objects | 8 @ 10; set: > thermal @ 1.1; set: > objects 0-3 @ 1.1
docs/explanation/evidence.md: it gains {} points on hand signs, ... and {} on objects. On clothing ({} and {} % top-1), flying objects ({} and {}) and gym exercises ({} and {}) ... far behind ({} and {}).
  docs/decisions.md# Fine-tuning or a frozen encoder: handdigits @ 5 - handdigits @ 3; objects @ 5 - objects @ 3; clothing @ 3 5; airborne @ 3 5; exercise @ 3 5; the text-probe {} %; fine-tuning has {} %
README.md: data sets {} to {} labels do
  What to label next: objects @ 1; exercise @ 1
docs/explanation/evidence.md: needs {} ±{} labels on clothing, {} ±{} on objects, {} ±{} on gym exercises, {} ±{} on hand signs
  What to label next: clothing @ 1 1.1; objects @ 1 1.1; exercise @ 1 1.1; handdigits @ 1 1.1
docs/how-to/label.md: background ({} ms for 5,000 files) ... by {} to {} points on six ... within {} points on five ... and {} points too low on the sixth; with 20 labels it was up to {} points
  docs/decisions.md# Estimates on the page of `texthead label`: a fit {} ms; objects @ 2.2 - objects @ 2; airborne @ 2.2 - airborne @ 2; exercise @ 2.2 - exercise @ 2.1; airborne @ 2.2 - airborne @ 2.1; airborne @ 1.2 - airborne @ 1.1
docs/how-to/few-labels.md: | text-probe, top-1 | {} | {} | {} | {} | {} | | `predict --unlabelled` | {} ±{} | {} ±{} | {} ±{} | {} ±{} | {} ±{} | | `train --unlabelled` | {} ±{} | {} ±{} | {} ±{} | {} ±{} | {} ±{} |
  Unlabelled files: top-1 of the text-probe, mean of 6: {}, {}, {}, {}, {} at; alone @ 1 1.1 2 2.1 3 3.1 4 4.1 5 5.1; later @ 1 1.1 2 2.1 3 3.1 4 4.1 5 5.1
docs/explanation/evidence.md: gain {} to {} points, mean of six sets, from 8 on nothing; zero-shot they gain {}. ... is below {}.
  Unlabelled files: batch @ 1 2; `alone`: mean of 6 {}; on objects and clothing is below {}. Zero-shot
docs/explanation/evidence.md: {} ±{} on drawn objects, {} ±{} on flying objects; {} ±{} and {} ±{} with
  Timeline: drawn | 12 | @ 2 2.1; airborne | 12 | @ 2 2.1; drawn | 12, unknown clips between @ 2 2.1; airborne | 12, unknown clips between @ 2 2.1
docs/explanation/evidence.md: zero-shot, no training | {} | {} | | text rows, frozen | {} ±{} | {} ±{} | | orthogonal rows, frozen | {} ±{} | {} ±{} | | learned rows | {} ±{} | {} ±{} |
  Demo: zero-shot @ 1 2; text, frozen @ 1 1.1 2 2.1; orthogonal @ 1 1.1 2 2.1; vision-only @ 1 1.1 2 2.1
docs/explanation/evidence.md: by {} to {} points for text-probes trained on the drawn videos, by {} on clothing ... of {} to {} % of the items on average ... rejects {} to {} % of the known ones
  Calibration: drawn | all @ 6; drawn | 5 | text @ 6; clothing | 5 | text @ 6; airborne | 5 | text @ 8; airborne | all @ 8; clothing | all @ 12; clothing | 5 | zero @ 12
docs/how-to/find.md: {} of 100 were said to stand out, at most {} in one ... {} of 100 stand out. ... {} % in films of flying objects, {} % on gym ... folders is {}; after 10, 20 and 40 marks it is {}, {} and {} ... for {} to {} of 100 queries ... in {} to {} of 100 cases
  Search: together @ 1; airborne | 13 % @ 1; together @ 3; airborne @ 5; exercise @ 5; By name alone {}, mean; 40 marks {}, {}, {} (Rocchio; are 4, 3, {} %; before are {}, 3; exercise 90 said, {} true; objects 97 said, {} true
docs/how-to/check-data.md: `doctor` finds {} to {}, also on ... by 10 % {} to {}, and of clips, exact copies aside, {} to {}.
  Copies planted in the other split: 4 % @ 4; mirrored @ 4; 10 % @ 1; 10 % @ 4; saved @ 3; brighter @ 2
docs/how-to/check-data.md: finds {} of {} planted swaps ... and {} of {} in 160 clips
  Swapped class names: clothing @ 4 3; airborne @ 4 3
docs/how-to/check-data.md: the ranking has {} to {} % of them ... {} to {} %, and {} to {} % of the listed
  Wrong labels: clothing @ 4; objects @ 3; grocery @ 10; objects @ 9; clothing @ 8; grocery @ 8
docs/explanation/paper.md: | class name | {} ±{} | ... template | {} ±{} | {} ±{} | ... in training | {} ±{} | {} ±{} | ... template | {} ±{} | {} ±{} |
  paper/RESULTS.md# Table 4: class name @ 1 1.1; one template @ 1 1.1 2 2.1; several @ 1 1.1 2 2.1; learnable @ 1 1.1 2 2.1
docs/how-to/video-encoders.md: | mean of all tokens, logistic regression | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... | {} | {} | {} | {} | ... is {} to {} points ahead of the mean ... is {} ahead of it ... and {} to {} ahead of `attentive` ... is {} to {} points ahead of `attentive`, ... lose {} to {} points.
  benchmarks/motion.json# names/orders: mean, logistic @ 1.m 2.m 3.m 4.m; steps, logistic @ 1.m 2.m 3.m 4.m; steps, attentive, learned @ 1.m 2.m 3.m 4.m; grid, attentive, learned @ 1.m 2.m 3.m 4.m; grid, attentive, text @ 1.m 2.m 3.m 4.m; steps, V-JEPA 2's, learned @ 1.m 2.m 3.m 4.m; steps, V-JEPA 2's, text @ 1.m 2.m 3.m 4.m; grid, V-JEPA 2's without self-attention, learned @ 1.m 2.m 3.m 4.m; steps, logistic @ 2.m - mean, logistic @ 2.m; steps, logistic @ 4.m - mean, logistic @ 4.m; steps, V-JEPA 2's, learned @ 4.m - mean, logistic @ 4.m; steps, V-JEPA 2's, learned @ 3.m 4.m - steps, attentive, learned @ 3.m 4.m; grid, V-JEPA 2's without self-attention, text @ 4.m - grid, attentive, text @ 4.m; steps, V-JEPA 2's, text @ 4.m - steps, attentive, text @ 4.m; mean, linear, learned @ 1.m - mean, linear, 40 steps, learned @ 1.m; mean, linear, learned @ 3.m - mean, linear, 40 steps, learned @ 3.m
docs/how-to/tune.md: centered on the 40 photos, reaches {} %. ... recipe's rate | {} ({}-{}) | {} ({}-{}) | {} ({}-{}) | ... not searched | {} ({}-{}) at 3e-2 | ... seconds | {} | {} | {} | ... of 0.5 reaches {} % instead of the {} %
  docs/decisions.md# Tuning parts of the encoder: zero-shot @ 2.m; all, 3e-4 | @ 2.m 2.2 2; norm, 3e-4 @ 2.m 2.2 2; none @ 2.m 2.2 2; norm, 3e-2 @ 2.m 2.1 2; all, 3e-4 | @ 3.m; norm, 3e-4 @ 3.m; none @ 3.m; all, 3e-4, mix @ 2.m; all, 3e-4 | @ 2.m
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
