"""How well `texthead find` ranks windows by class names, and how often it is wrong about what is there.

    python -m benchmarks.search_quality --data ../shared/data [--model mini] [--draws 3]

Test items only: photos of objects and clothing, clips of airborne and exercise joined into films of twenty scenes whose
times are known. A window is right if more than half of it shows the class.

- Ranking: mean average precision of windows with class names as queries, beside a bare cosine by hand on the same
  features (minus the encoder's own center, if it has one) and beside random scores. Intervals (95 %) are over classes.
- Honesty: a folder of up to 300 items of one set, or of all sets. False alarms: the share of queries for absent things
  of which the best hit is said to stand out: class names of other sets, and phrases that fit no set (`WISHES`). Also
  classes of the same set whose items were left out: then something similar is there. Misses: the share of queries that
  are said not to stand out, by the number of the class's items in the folder.
"""

import argparse
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import average_precision_score
from torch import Tensor

import texthead as th
from benchmarks.choosing import SETS as ALL
from texthead.apps.search.index import Index, open_index
from texthead.apps.search.search import CHANCE, common_words, common_words_of, query_row
from texthead.encoders.encoder import Encoder
from texthead.files import write_csv
from texthead.media.paths import MediaPath
from texthead.text.class_names import clean_name

SETS = {name: source for name, source in ALL.items() if name != "handdigits"}
FILMS = ("airborne", "exercise")
RANKED = ("objects", "clothing", *FILMS)

# Sets of which the items show people, who wear clothes.
PEOPLE = ("exercise", "skate")

# Frames per second of films, their size, scenes in one, and the length of a scene of two photos.
RATE, SIDE, SCENES, SECONDS = 10, 240, 20, 3

WISHES = """a red kite on the beach; a birthday cake with candles; a dog playing in the snow; a child on a swing;
a group of people around a campfire; a giraffe; a tiger in the jungle; a white horse running; a wedding couple;
a lighthouse; a steam train; the Eiffel tower; someone surfing a big wave; a plate of spaghetti; a Christmas tree;
a snowman; a waterfall in a forest; a fire truck with its lights on; a baby crying; a cow in a meadow; a chess board;
a computer keyboard; an octopus; a penguin; a volcano erupting; a toothbrush; a traffic jam; fireworks at night;
a washing machine; a violin player; a polar bear; a rainbow; a castle on a hill; a swimming pool; a tractor on a field;
a goldfish; a barcode; a street at night; a handwritten letter; a skeleton; a hot air balloon; a bowl of soup;
a microscope; a tent in the mountains; a shark; a hedgehog"""


class Scene(NamedTuple):
    """What a file shows from `start` to `end`, in seconds."""

    path: str
    start: float
    end: float
    label: str


class Labelled(NamedTuple):
    """An index, its classes, and which of its windows show them."""

    windows: Index
    names: list[str]
    right: Tensor  # windows classes


def scenes_of(name: str, data: Path) -> list[Scene]:
    """Return the test items of a set, each as a scene that fills its file."""
    items = th.read_dataset(data / SETS[name]).split("test").items
    return [Scene(str(item.path), 0, np.inf, item.label) for item in items]


def join_films(scenes: Sequence[Scene], folder: Path, seed: int) -> list[Scene]:
    """Write films of the scenes in random order; return their scenes."""
    folder.mkdir(parents=True)
    order = random.Random(seed).sample(scenes, len(scenes))
    films: list[Scene] = []
    for number in range(0, len(order), SCENES):
        path = folder / f"film{number}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"crf": "20", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
            count = 0
            for scene in order[number : number + SCENES]:
                begin = count
                for picture in pictures(Path(scene.path)):
                    frame = av.VideoFrame.from_image(picture)
                    container.mux(stream.encode(frame))
                    count += 1
                films.append(Scene(str(path), begin / RATE, count / RATE, scene.label))
            container.mux(stream.encode())
    return films


def pictures(path: Path) -> Iterator[Image.Image]:
    """Yield the frames of a clip at the films' rate and size; photos without times are shown for SECONDS in all."""
    with MediaPath(path).open() as media:
        seconds = media.duration_seconds if media.num_frames > 2 else SECONDS
        indices = np.linspace(0, media.num_frames, max(1, round(seconds * RATE)), endpoint=False).astype(int)
        frames = media.frames_at(sorted({*indices.tolist()}))
        for index in np.searchsorted(np.unique(indices), indices):
            yield Image.fromarray(frames[index].permute(1, 2, 0).numpy()).resize((SIDE, SIDE))


def labelled(scenes: Sequence[Scene], folder: Path, model: Encoder) -> Labelled:
    """Return the index of the scenes' files and which windows mostly show which class."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [*dict.fromkeys(scene.path for scene in scenes)]
    write_csv(folder / "files.csv", ["path"], [[str(Path(path).resolve())] for path in paths])
    index = open_index(folder / "files.csv", model)
    names = sorted({scene.label for scene in scenes})
    own: dict[str, list[Scene]] = defaultdict(list)
    for scene in scenes:
        own[str(Path(scene.path).resolve())].append(scene)
    right = torch.zeros(len(index), len(names), dtype=torch.bool)
    for window, (start, end) in enumerate(index.spans.tolist()):
        files = own[str(MediaPath(index.paths[int(index.file_of[window])]).file)]
        end = min(end, max(scene.end for scene in files))
        for scene in files:
            shown = 1.0 if np.isinf(end) else (min(end, scene.end) - max(start, scene.start)) / (end - start)
            right[window, names.index(scene.label)] |= shown > 0.5
    return Labelled(index, names, right)


def by_hand(index: Index, queries: Sequence[str]) -> Tensor:
    """Return the cosine of each window and each query, as one would write it without texthead."""
    encoder = index.encoder
    text = F.normalize(encoder.encode_text(list(queries)), dim=-1)
    features = index.features.float() - (0 if encoder.center is None else encoder.center)
    return F.normalize(features, dim=-1) @ text.T


def ranking(data: Labelled, seed: int) -> dict[str, list[float]]:
    """Return the average precision, and the precision of the first ten, of each class, by way of ranking."""
    queries = [clean_name(name) for name in data.names]
    rows = torch.stack([query_row(data.windows, query) for query in queries])
    scores = {"find": data.windows.cosines(rows).T, "by hand": by_hand(data.windows, queries)}
    scores["random"] = torch.rand(scores["find"].shape, generator=torch.Generator().manual_seed(seed))
    values: dict[str, list[float]] = defaultdict(list)
    for column, query in enumerate(queries):
        right = data.right[:, column]
        if not right.any():
            continue
        for way, each in scores.items():
            values[way].append(100 * float(average_precision_score(right, each[:, column])))
            best = each[:, column].argsort(descending=True)[:10]
            values[f"{way}, first 10"].append(100 * float(right[best].float().mean()))
        hits = th.search(data.windows, query, top=10).hits
        values["hits of find"].append(100 * float(np.mean([bool(right[hit.window]) for hit in hits])))
    return values


def part_of(index: Index, windows: Sequence[int]) -> Index:
    """Return an index of some windows."""
    picked = torch.tensor(windows)
    return replace(index, file_of=index.file_of[picked], spans=index.spans[picked], features=index.features[picked])


def stands_out(index: Index, query: str, words: Tensor) -> bool:
    """Return whether the best hit of a query is said to stand out, as `search` judges it."""
    row, center = F.normalize(query_row(index, query), dim=-1), index.encoder.center
    best = index.features[int(index.cosines(row[None])[0].argmax())]
    common = common_words_of(index, words, index.center if center is None else center)
    return common.share_as_good(row, best) <= CHANCE


def honesty(sets: dict[str, Labelled], draws: int) -> dict[str, dict[str, list[int]]]:
    """Return (queries said to stand out, queries) by folder and kind of query."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    first = next(iter(sets.values())).windows
    words = common_words(first).rows
    features = torch.cat([data.windows.features for data in sets.values()])
    everything = replace(first, features=features, file_of=torch.arange(len(features)), spans=features[:, :2])
    labels = [name for data in sets.values() for name in (data.names[int(row.int().argmax())] for row in data.right)]
    set_of = [name for name, data in sets.items() for _ in range(len(data.windows))]
    for draw in range(draws):
        for folder in (*sets, "all sets"):
            rng = random.Random(f"{folder} {draw}")
            inside = [i for i, name in enumerate(set_of) if folder in (name, "all sets")]
            windows = rng.sample(inside, min(300, len(inside)))

            def ask(kind: str, query: str, windows: Sequence[int], folder: str = folder) -> None:
                count = counts[folder][kind]
                count[0] += stands_out(part_of(everything, windows), query, words)
                count[1] += 1

            for wish in WISHES.replace("\n", " ").split("; "):
                ask("phrases", wish, windows)
            present = {labels[i] for i in inside}
            people = folder in (*PEOPLE, "all sets")
            for name, data in sets.items():
                if name == folder or (name == "clothing" and people):
                    continue
                for label in set(data.names) - present:
                    ask("classes of other sets", clean_name(label), windows)
            for label in sorted(present):
                if "clothing" in {set_of[i] for i in inside if labels[i] == label} and people:
                    continue
                rest = [i for i in windows if labels[i] != label]
                own = [i for i in inside if labels[i] == label]
                ask("left-out classes", clean_name(label), rest)
                for number in (1, 3, 10, 30):
                    if number <= len(own):
                        ask(f"{number} present", clean_name(label), [*rest, *rng.sample(own, number)])
    return counts


def interval(values: Sequence[float]) -> list[float]:
    """Return the mean and half of its 95 % interval."""
    half = 1.96 * float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return [round(float(np.mean(values)), 2), round(half, 2)]


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini", help="an encoder")
    parser.add_argument("--draws", type=int, default=3, help="orders of scenes in films, and draws of folders")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = th.load_encoder(options.model)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        for each in RANKED:
            scenes = scenes_of(each, options.data)
            draws: list[dict[str, list[float]]] = []
            for seed in range(options.draws if each in FILMS else 1):
                folder = temporary / each / str(seed)
                shown = join_films(scenes, folder, seed) if each in FILMS else scenes
                draws.append(ranking(labelled(shown, folder, model), seed))
            means = {way: np.mean([draw[way] for draw in draws], axis=0) for way in draws[0]}
            means["find - by hand"] = means["find"] - means["by hand"]
            shown = {way: interval(values) for way, values in means.items()}
            print(f"{each}: {shown}", flush=True)
        sets = {each: labelled(scenes_of(each, options.data), temporary / each, model) for each in SETS}
        for folder, kinds in honesty(sets, options.draws).items():
            print(f"{folder}: {', '.join(f'{kind} {100 * a / n:.0f} % of {n}' for kind, (a, n) in kinds.items())}")


if __name__ == "__main__":
    main()
