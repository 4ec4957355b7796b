"""How much a dataset holds, from the facts of its files. Reads no files."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from texthead import Item
from texthead.apps.doctor.file_stats import FileStats


def overview(items: Sequence[Item], facts: Sequence[FileStats]) -> dict[str, Any]:
    """Return how much a dataset holds, as JSON values.

    - unreadable: number of items that cannot be read whole; frames, seconds and sizes leave them out
    - kinds: number of items of each kind ("video", "image", ...)
    - frames, seconds: of all items
    - sizes: number of items of each size of the upright picture ("640x480"), the most frequent first
    - splits: number of items in "train", "val", "test" and "none"
    - classes: the same for each class, the largest first
    """
    readable = [fact for fact in facts if fact.fault is None]
    counts = defaultdict[str, Counter[str]](Counter)
    for item in items:
        for name in item.labels:
            counts[name][item.split or "none"] += 1
    return {
        "unreadable": len(facts) - len(readable),
        "kinds": dict(Counter(item.media.reader.kind for item in items).most_common()),
        "frames": sum(fact.frames for fact in readable),
        "seconds": sum((fact.seconds for fact in readable), 0.0),
        "sizes": dict(Counter(f"{fact.width}x{fact.height}" for fact in readable).most_common()),
        "splits": dict(Counter(item.split or "none" for item in items)),
        "classes": {
            name: {**own} for name, own in sorted(counts.items(), key=lambda each: (-each[1].total(), each[0]))
        },
    }
