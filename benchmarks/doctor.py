"""What `texthead doctor` finds of planted faults, what it reports about unmodified sets, the cost of comparing files.

    python -m benchmarks.doctor --data ../shared/data [--sets clothing skate] [--copies 60] [--rows 20000 100000]

The thresholds were chosen on clothing and airborne, so their rows are optimistic; the other sets had no part in it. A
copy is planted in the split that does not hold its original, one kind at a time; a swap exchanges the labels of one
pair of classes. `mini`, 224 pixels, 4 frames of a video, the defaults of the command.
"""

import argparse
import io
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL.Image
import PIL.ImageEnhance
from jaxtyping import Float
from PIL.Image import Image
from PIL.ImageOps import mirror

import texthead as th
from benchmarks import videos
from benchmarks.rounds import in_new_process, now, own_peak_mb, since, table
from texthead.apps.demo.drawn_videos import draw_videos
from texthead.apps.doctor import encoder_findings, near_duplicates
from texthead.apps.doctor import findings as doctor
from texthead.apps.doctor.file_stats import FileStats, stats_of_file
from texthead.cli import main as cli
from texthead.data.dataset import Item
from texthead.encoders.encoder import Encoder
from texthead.media.paths import MediaPath
from texthead.text import clean_names

CHOSEN_ON = {"clothing": "image/clothing/images.csv", "airborne": "video/airborne/clips.csv"}
UNSEEN = {"skate": "video/skate_tricks/clips.csv", "imagenet": "image/imagenet_sample_1000/images.csv"}
SETS = CHOSEN_ON | UNSEEN
FRAMES = 4
# Faults in the JSON that concern copies, leaks and swapped names.
COPIES, LEAKS = (
    ("exact duplicate", "near duplicate", "near duplicate, two labels"),
    ("leak", "near leak", "one file, two labels"),
)
SWAPS = ("names look swapped",)


def cut(picture: Image, fraction: float) -> Image:
    """Cut off that fraction of the width and height, half of it on each side."""
    x, y = round(picture.width * fraction / 2), round(picture.height * fraction / 2)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def half(picture: Image) -> Image:
    """Halve the width and height."""
    return picture.resize((picture.width // 2, picture.height // 2))


def brighter(picture: Image) -> Image:
    """Brighten by a quarter."""
    return PIL.ImageEnhance.Brightness(picture).enhance(1.25)


SAME, POOR = "the same bytes", "saved again, JPEG of quality 30 or CRF 35"
# The change of each frame; all but the first two kinds are saved at quality 75 or CRF 23.
KINDS: dict[str, Callable[[Image], Image]] = {
    SAME: lambda picture: picture,
    POOR: lambda picture: picture,
    "half the size": half,
    "brighter by a quarter": brighter,
    "mirrored": mirror,
    "4 % of each side cut off": lambda picture: cut(picture, 0.04),
    "10 % of each side cut off": lambda picture: cut(picture, 0.1),
}


def copied(source: Path, kind: str, folder: Path) -> Path:
    """Write a copy of that kind into the folder."""
    if kind == SAME:
        return Path(shutil.copy(source, folder))
    frames = [KINDS[kind](PIL.Image.fromarray(frame)) for frame in videos.whole(source)]
    if MediaPath(source).is_image:
        path = folder / f"{source.stem}.jpg"
        frames[0].save(path, quality=30 if kind == POOR else 75)
        return path
    # h264 needs even sides.
    even = np.stack([np.asarray(f.crop((0, 0, f.width // 2 * 2, f.height // 2 * 2))) for f in frames])
    return videos.encode(folder / f"{source.stem}.mp4", even, gop=12, crf=35 if kind == POOR else 23)


@dataclass(frozen=True)
class Known:
    """Items with their facts and features, in the same order."""

    items: tuple[Item, ...]
    facts: tuple[FileStats, ...]
    features: Float[np.ndarray, "items dim"]

    def beside(self, other: "Known") -> "Known":
        """Return these followed by the others."""
        seen = np.concatenate([self.features, other.features])
        return Known(self.items + other.items, self.facts + other.facts, seen)


def known(encoder: Encoder, items: Sequence[Item], cache: Path) -> Known:
    """Return facts and features of items, all of which must be readable."""
    paths = [item.path for item in items]
    sizes = encoder.visual.spec.pixels()
    protocol = th.Protocol(1 if all(item.media.is_image for item in items) else FRAMES, sizes)
    seen = th.FrozenEncoder(encoder, protocol, th.ReadOptions(cache=cache)).files(paths).features.numpy()
    return Known(tuple(items), tuple(stats_of_file(path) for path in paths), seen)


# --- unmodified sets


def reported_by_doctor(source: Path, cache: Path) -> Counter[str]:
    """Count the faults that `texthead doctor` reports for a set."""
    here = patch.dict(os.environ, TEXTHEAD_CACHE=str(cache.parent))
    with here, redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        cli.main(["doctor", str(source), "--json", "--workers", "1"])
    return Counter(finding["fault"] for finding in json.loads(out.getvalue())["findings"])


def untouched(name: str, data: Path, cache: Path) -> list[str]:
    """Return a row: the findings in an unmodified set."""
    counts = reported_by_doctor(data / SETS[name], cache)
    faults = [sum(counts[fault] for fault in kinds) for kinds in (doctor.UNREADABLE, COPIES, LEAKS, SWAPS)]
    items = len(th.read_dataset(data / SETS[name]))
    return [*named(name), f"{items:,}", f"{items * (items - 1) // 2:,}", *map(str, faults)]


def named(name: str) -> tuple[str, str]:
    """Return the first cells of a row: the set, and whether thresholds were chosen on it."""
    return name, "yes" if name in CHOSEN_ON else "no"


# --- copies


def found_together(findings: Sequence[doctor.Finding], origins: Sequence[int], whole: int) -> tuple[int, int]:
    """Return (copies found with their original, findings with two or more originals); copies follow the originals."""
    origin = {whole + index: own for index, own in enumerate(origins)}
    groups = [finding.items for finding in findings]
    pairs = sum(any({copy, own} <= set(group) for group in groups) for copy, own in origin.items())
    return pairs, sum(len({origin.get(index, index) for index in group}) > 1 for group in groups)


def copies(encoder: Encoder, name: str, whole: Known, count: int, cache: Path) -> list[list[str]]:
    """Return a row for each kind: how many of the planted copies are found, and by which method."""
    origins = np.sort(np.random.default_rng(0).permutation(len(whole.items))[:count]).tolist()
    rows = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            made = [planted(whole.items[own], kind, Path(folder)) for own in origins]
            both = whole.beside(known(encoder, made, cache))
        features = dict(enumerate(both.features))
        hashed, featured = near_duplicates.alike(both.facts), near_duplicates.alike_by_feature(both.facts, features)
        combined = near_duplicates.alike(both.facts, features)
        same = [*doctor.copies(both.items, both.facts)]
        near = [[*doctor.near_copies(both.items, both.facts, alike)] for alike in (hashed, featured, combined)]
        quick, by_features, by_both = (found_together(same + group, origins, len(whole.items)) for group in near)
        leaks = [finding for finding in same + near[2] if finding.fault in LEAKS]
        cells = [quick[0], by_features[0], found_together(leaks, origins, len(whole.items))[0], by_both[1]]
        rows.append([*named(name), kind, str(len(origins)), *map(str, cells)])
    return rows


def planted(item: Item, kind: str, folder: Path) -> Item:
    """Return the item's copy, in the other split."""
    return replace(item, path=copied(item.path, kind, folder), split="test" if item.split == "train" else "train")


# --- swaps


def planted_swaps(encoder: Encoder, whole: Known, labels: Sequence[str]) -> tuple[int, int, int]:
    """Swap each pair of classes in turn; return (swaps reported on true names, swaps found, other reported pairs)."""
    names = sorted(set(labels))
    true = np.array([names.index(label) for label in labels])
    rows = encoder_findings.rows_of(encoder, clean_names(names))
    groups = [item.group_key for item in whole.items]

    def swaps_of(targets: np.ndarray) -> list[encoder_findings.Swap]:
        cosines = encoder_findings.centered_cosines(rows, whole.features, targets)
        return encoder_findings.swaps(cosines, targets, groups)

    reported = hits = 0
    for first, second in combinations(range(len(names)), 2):
        swaps = swaps_of(np.where(true == first, second, np.where(true == second, first, true)))
        reported += len(swaps)
        hits += any({swap.first, swap.second} == {first, second} for swap in swaps)
    return len(swaps_of(true)), hits, reported - hits


def swaps(encoder: Encoder, first: tuple[str, str], whole: Known, labels: Sequence[str]) -> list[str]:
    """Return a row: how many of all swaps of two classes are found."""
    count = len(set(labels))
    true, hits, others = planted_swaps(encoder, whole, labels)
    return [*first, str(count), str(count * (count - 1) // 2), str(hits), str(others), str(true)]


def drawn_swaps(encoder: Encoder, folder: Path) -> list[list[str]]:
    """Return the same for drawn videos: classes by object, and by object and motion."""
    whole = known(encoder, th.read_dataset(draw_videos(folder / "drawn", train=4, test=4)).items, folder / "cache")
    both = [item.label for item in whole.items]
    objects = [" ".join(label.split()[:2]) for label in both]
    return [
        swaps(encoder, ("drawn objects", "no"), whole, objects),
        swaps(encoder, ("drawn objects in motion", "no"), whole, both),
    ]


# --- cost of comparing


def comparing(count: int, alike: bool) -> tuple[float, float, float]:
    """Find the pairs among `count` rows of 512 numbers; return (seconds, CPU seconds, MB besides the rows)."""
    rows = np.random.default_rng(0).standard_normal((count, 512), np.float32)
    rows += 10 * alike  # In place: a second array would raise the peak that counts from here on.
    near_duplicates.near_pairs(rows[:100], 0.9)
    before, start = own_peak_mb(), now()
    pairs = near_duplicates.near_pairs(rows, 0.9)
    if len(pairs) != alike * (count - 1):
        raise RuntimeError(f"{len(pairs)} pairs of {count} rows")
    taken = since(start)
    return taken.wall, taken.cpu, own_peak_mb() - before


def growth(counts: Sequence[int]) -> str:
    """Return the table of the cost of comparing."""
    rows = []
    for count in counts:
        for alike in (False, True):
            wall, cpu, megabytes = in_new_process(comparing, count, alike)
            kind = "all alike" if alike else "random"
            rows.append([f"{count:,}", kind, f"{wall:.0f}", f"{cpu:.0f}", f"{megabytes:.0f}"])
    return table(["rows of 512 numbers", "content", "seconds", "CPU-seconds", "MB besides the rows"], rows)


def measure(data: Path, names: Sequence[str], count: int, *, drawn: bool = True) -> str:
    """Return the tables of sets."""
    encoder = th.load_encoder("mini", keep_text=True)
    encoder.visual.eval()
    asis, copied, swapped = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "features"  # The name that the command uses, so that both share features.
        for name in names:
            asis.append(untouched(name, data, cache))
            dataset = th.read_dataset(data / SETS[name])
            whole = known(encoder, dataset.items, cache)
            copied += copies(encoder, name, whole, count, cache)
            # Classes with a single item are never reported.
            if len(dataset) > 2 * len(dataset.classes):
                swapped.append(swaps(encoder, named(name), whole, dataset.labels))
        swapped += drawn_swaps(encoder, Path(folder)) if drawn else []
    first = ["set", "used to set thresholds"]
    reported = ["damaged files", "duplicates reported", "leaks reported", "swaps reported"]
    ways = ["planted", "found with `--quick`", "found by features", "reported as a leak", "findings about other files"]
    pairs = ["classes", "pairs", "found", "other pairs reported", "reported on the true names"]
    return "\n\n".join(
        [
            "### Unmodified sets",
            table([*first, "files", "pairs of files", *reported], asis),
            "### Copies planted in the other split",
            table([*first, "copy", *ways], copied),
            "### Swapped class names",
            table([*first, *pairs], swapped),
        ]
    )


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--copies", type=int, default=60, help="copies of each kind")
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 100_000])
    options = parser.parse_args()
    print(measure(options.data, options.sets, options.copies))
    print(f"\n### Cost of comparing files\n\n{growth(options.rows)}")


if __name__ == "__main__":
    main()
