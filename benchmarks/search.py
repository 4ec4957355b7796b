"""Time and memory of `texthead find`: queries, start, encoding and growth; and what half precision costs in ranks.

    python -m benchmarks search [--rounds 5] [--windows 10000,100000,1000000] [--data ../shared/data]

Queries: indexes of random features of 1,280 numbers, 100 windows a file, one thread. A query has words, whose text row
is random; it is timed from `search` to its 20 hits, after a first one, which compares the common words too. Anonymous
memory is all that no file backs: torch's own too, not the memory map; the target is 300 MB.

Start: new processes with an index that is up to date. Encoding: drawn videos of 10 s by `mini`, each method in a new
process without a cache; the index samples 10 frames of each video, `predict` is given as many.

Half precision: ranks of the windows by class names, with features in half and in single precision, on two real sets.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import texthead as th
from benchmarks import startup, videos
from benchmarks.rounds import (
    Cost,
    in_new_process,
    interleaved,
    judge,
    milliseconds,
    now,
    parser,
    ratios,
    since,
    table,
    timed,
)
from texthead.apps.search import windows
from texthead.encoders.encoder import Encoder
from texthead.media.paths import Span

DIM, A_FILE, TOP = 1280, 100, 20
SETS = {"objects": "image/objects", "exercise": "video/exercise"}


def anonymous_mb() -> float:
    """Return the memory of this process that no file backs, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


# --- queries


def random_encoder() -> Encoder:
    """Return an encoder whose text rows are random."""

    def encode_text(prompts: list[str]) -> Tensor:
        seeds = [sum(map(ord, prompt)) for prompt in prompts]
        return torch.stack([torch.randn(DIM, generator=torch.Generator().manual_seed(seed)) for seed in seeds])

    return Encoder.from_functions(
        lambda images: torch.zeros(len(images), DIM), encode_text, size=8, mean=(0, 0, 0), std=(1, 1, 1)
    )


def random_windows(_: object, paths: Sequence[Path], *__: object) -> Iterator[tuple[list[Span], Tensor]]:
    """Yield random features of `A_FILE` windows for each file."""
    generator = torch.Generator().manual_seed(0)
    spans = [Span(number, number + 1) for number in range(A_FILE)]
    for _ in paths:
        yield spans, torch.randn(A_FILE, DIM, generator=generator)


def write_index(folder: Path, count: int) -> Cost:
    """Write files and an index of random features; return what a window cost."""
    for number in range(count // A_FILE):
        path = folder / "files" / str(number % 100) / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")
    encode, windows.windows_of = windows.windows_of, random_windows  # pyright: ignore[reportAttributeAccessIssue]
    try:
        start = now()
        th.open_index(folder / "files", random_encoder())
        return since(start, count)
    finally:
        windows.windows_of = encode


def search_index(folder: Path, rounds: int) -> tuple[Cost, Cost, list[Cost], float]:
    """Open an index and search it; return the costs of opening, the first query and the others, and anonymous MB."""
    torch.set_num_threads(1)
    encoder = random_encoder()
    start = now()
    index = th.open_index(folder / "files", encoder)
    opened = since(start)
    first, *others = (timed(partial(th.search, index, f"query {number}"))() for number in range(rounds + 2))
    return opened, first, others[1:], anonymous_mb()


def measure_queries(rounds: int, counts: Sequence[int]) -> str:
    """Return the table of queries over numbers of windows."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            os.environ["TEXTHEAD_CACHE"] = f"{name}/cache"
            built = in_new_process(write_index, Path(name), count)
            size = sum(file.stat().st_size for file in (Path(name) / "cache" / "indexes").iterdir())
            opened, first, others, memory = in_new_process(search_index, Path(name), rounds)
            target = judge([1000 * cost.cpu for cost in others], at_most=40 * max(count, 100_000) / 100_000)[1]
            each = 1e6 * built.cpu, size / count
            rows.append(
                [
                    f"{count:,}",
                    f"{1000 * opened.wall:.0f}",
                    f"{1000 * first.wall:.0f}",
                    *milliseconds(others),
                    target,
                    f"{memory:.0f}",
                    f"{each[0]:.1f}",
                    f"{each[1]:.0f}",
                ]
            )
    headers = ["windows", "open, ms", "first query, ms", "query, ms", "CPU-ms", "target, CPU-ms", "anonymous MB"]
    return table([*headers, "CPU-µs to write a window", "bytes a window"], rows)


# --- start

OPEN = "import texthead as th; index = th.open_index({!r})"
SEARCH = f"{OPEN}; th.search(index, 'a red ball')"


def measure_start(rounds: int) -> str:
    """Return the table of new processes on an index that is up to date."""
    with tempfile.TemporaryDirectory() as name:
        cache, data = Path(name) / "cache", Path(name) / "data"
        data.mkdir()
        for seed in range(3):
            videos.encode(data / f"{seed}.mp4", videos.drawn(5, seed), 12)
        programs = {
            startup.TORCH: ["-c", "import torch"],
            "open the index": ["-c", OPEN.format(str(data))],
            "open it and search, words of an earlier search": ["-c", SEARCH.format(str(data))],
            "load `mini` with text encoder, for comparison": ["-c", startup.WITH_TEXT],
        }
        for _ in range(2):  # The second time the encoder is lazy, and keeps the texts.
            startup.started(programs["open it and search, words of an earlier search"], cache)
        costs = interleaved({title: timed(partial(startup.started, a, cache)) for title, a in programs.items()}, rounds)
    rows = [
        [title, *milliseconds(costs[title], 0), *judge(ratios(costs, title, startup.TORCH), at_most=1.5)]
        for title in programs
    ]
    return table(["new process", "ms", "CPU-ms", "CPU time / `import torch`", "target"], rows)


# --- encoding


def encode_by(method: str, folder: Path) -> Cost:
    """Encode the videos of a folder in this process; return what a frame cost."""
    torch.set_num_threads(1)
    encoder = th.load_encoder("mini")
    model = th.Recognizer(encoder.visual, th.MeanPool(), th.LinearHead(encoder.dim, names=("a", "b")))
    reading = th.ReadOptions(engine="eager")
    paths = sorted(folder.iterdir())
    ways: dict[str, Callable[[], Any]] = {
        "`open_index`": lambda: windows.encode_windows(model, paths, None, reading),
        "`predict`": lambda: th.Run.from_model(model).predict(paths, th.Protocol(10), reading),
    }
    return timed(ways[method], per=10 * len(paths))()


def measure_encoding(rounds: int, count: int = 20) -> str:
    """Return the table of encoding."""
    with tempfile.TemporaryDirectory() as name:
        for seed in range(count):
            videos.encode(Path(name) / f"{seed}.mp4", videos.drawn(10, seed), 12)
        ways = ("`open_index`", "`predict`")
        costs = interleaved({way: partial(in_new_process, encode_by, way, Path(name)) for way in ways}, rounds)
    share, target = judge(ratios(costs, *ways), at_most=1.05)
    rows = [
        [ways[0], *milliseconds(costs[ways[0]]), share, target],
        [ways[1], *milliseconds(costs[ways[1]]), "-", "-"],
    ]
    return table(["a frame of a video of 10 s", "ms", "CPU-ms", "CPU time / `predict`", "target"], rows)


# --- half precision


def measure_half(data: Path, sets: dict[str, str]) -> str:
    """Return the table of ranks in half and in single precision."""
    encoder, rows = th.load_encoder("mini"), []
    for title, folder in sets.items():
        dataset = th.read_dataset(data / folder)
        paths = [item.path for item in dataset.items]
        features = (
            th.FrozenEncoder(encoder, th.Protocol(8), th.ReadOptions(cache=True, engine="auto")).files(paths).features
        )
        texts = encoder.text_rows([f"a photo of a {name}" for name in dataset.classes])
        scores = [F.normalize(each - each.mean(0), dim=-1) @ texts.T for each in (features, features.half().float())]
        single, half = (each.argsort(0, descending=True) for each in scores)
        pairs = list(zip(single.T.tolist(), half.T.tolist(), strict=True))
        same = [len({*a[:TOP]} & {*b[:TOP]}) / TOP for a, b in pairs]
        moves = [max(abs(place - b.index(window)) for place, window in enumerate(a[:100])) for a, b in pairs]
        error = float((scores[0] - scores[1]).abs().max())
        in_order = sum(a[:TOP] == b[:TOP] for a, b in pairs)
        numbers = [
            f"{100 * sum(same) / len(same):.2f} %",
            f"{in_order} of {len(pairs)}",
            str(max(moves)),
            f"{error:.0e}",
        ]
        rows.append([title, str(len(features)), *numbers])
    headers = [
        "set",
        "items",
        f"same first {TOP}",
        "in the same order",
        "largest move in the first 100",
        "cosine error",
    ]
    return table(headers, rows)


def main() -> None:
    """Print the tables."""
    options = parser(__doc__)
    options.add_argument("--windows", default="10000,100000,1000000", help="numbers of windows, comma-separated")
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with the real sets")
    chosen = options.parse_args()
    print("## Search\n\n### Queries\n\nOne thread.\n")
    print(measure_queries(chosen.rounds, [int(count) for count in chosen.windows.split(",")]))
    print(f"\n### Start\n\n{measure_start(chosen.rounds)}")
    print(f"\n### Encoding\n\nOne thread.\n\n{measure_encoding(chosen.rounds)}")
    print(f"\n### Half precision\n\n{measure_half(chosen.data, SETS)}")


if __name__ == "__main__":
    main()
