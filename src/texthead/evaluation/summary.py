"""The result of a test in words: a sentence, and the classes that are often confused or missed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from texthead.errors import plural
from texthead.evaluation.classes import wrong_pairs
from texthead.evaluation.results import Evaluation, MultiLabelEvaluation
from texthead.media.paths import MediaPath

# A confusion is frequent if it has at least two items and this fraction of the class.
OFTEN = 0.1


def kind_text(paths: Iterable[Path]) -> str:
    """Return what the paths are, by their names: images, videos, frame folders, or files if they differ."""
    kinds = {MediaPath(path).reader.kind for path in paths}
    return f"{kinds.pop()}s" if len(kinds) == 1 else "files"


def sentence(
    result: Evaluation, where: str, others: Mapping[str, Evaluation] = MappingProxyType({}), *, how: str = ""
) -> str:
    """Return the result in a sentence: `84 % of 100 test images are correct (95 % CI 76 to 90); zero-shot 21 %`.

    Args:
        where: the name of the items, such as "test".
        others: results of other methods on the same items, by title, such as "zero-shot".
        how: how the items were scored, such as "4x3 views"; "" for the usual way.
    """
    items = f"{result.count:,} {where} {kind_text(result.paths)}"
    groups = len(set(result.groups or ()))
    of_groups = f", {plural(groups, 'group')}" if 0 < groups < result.count else ""
    low, high = (number_text(each, result) for each in result.interval)
    about = f"(95 % CI {low} to {high}{of_groups}{f'; {how}' * (how != '')})"
    unit = "" if isinstance(result, MultiLabelEvaluation) else " %"
    best = number_text(result.rate[0], result)
    if isinstance(result, MultiLabelEvaluation):
        text = f"mAP {best} on {items} {about}, all labels correct in {number_text(result.exact[0], result)} %"
    else:
        text = f"{best} % of {items} are correct {about}"
        mean = number_text(result.class_mean[0], result)
        text += f", mean over classes {mean} %" if result.sizes_differ and mean != best else ""
    values = [f"{name} {number_text(each.rate[0], each)}{unit}" for name, each in others.items()]
    return f"{text}; {', '.join(values)}" if values else text


def number_text(percent: float, result: Evaluation) -> str:
    """Return a percentage with as many digits as the number of items supports."""
    rounded = round(percent)
    digits = 1 if result.count >= 1000 or (rounded in (0, 100) and rounded != percent) else 0
    return f"{percent:.{digits}f}"


def weak_spots(result: Evaluation) -> list[str]:
    """Return the two most frequent confusions, `skirt is often predicted as dress (5 of 20)` (multi-label: misses)."""
    if isinstance(result, MultiLabelEvaluation):
        missed = [(row.items - round(row.recall[0] * row.items / 100), row) for row in result.classes if row.recall]
        missed.sort(key=lambda pair: -pair[0])
        spots = [(count, row.items, f"{row.name} is often missed") for count, row in missed]
    else:
        names, sizes = result.names, result.targets.bincount(minlength=len(result.names)).tolist()
        pairs = wrong_pairs(result.confusion())
        spots = [(n, sizes[truth], f"{names[truth]} is often predicted as {names[said]}") for truth, said, n in pairs]
    return [f"{text} ({count} of {of})" for count, of, text in spots if count >= max(2, OFTEN * of)][:2]
