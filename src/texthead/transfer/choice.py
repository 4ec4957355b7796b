"""Choose an encoder by cross-validation on the training items, within a time budget."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from texthead.data.dataset import Dataset
from texthead.data.division import Division, divide
from texthead.data.reading import as_dataset
from texthead.encoders.here import encoders_here, keep_speed
from texthead.encoders.load import AnyEncoder, EncoderOptions
from texthead.errors import EncoderError, NonNegativeInt, PositiveInt, Share
from texthead.evaluation.results import Evaluation
from texthead.features.frozen import FrozenEncoder
from texthead.features.reading import ReadOptions
from texthead.parallel.caller import apart_from_caller
from texthead.parallel.progress import Reporter, silent
from texthead.transfer.experiment import Experiment, load_experiment
from texthead.transfer.methods import MIN_ITEMS, cross_validated, folds

# Seconds, if no budget is given.
BUDGET = 180.0

# The share of the budget in which all candidates are scored, the fewest and the most of whose items are these; then
# how many are scored on more items, and on how many at most.
_LOOK, _FEWEST, _LOOK_ITEMS, _FINALISTS, _MOST = 0.5, 20, 200, 3, 2000

# With fewer items no lead is significant, and the highest score is the best guess.
_MANY = 100


@dataclass(frozen=True)
class EncoderScore:
    """How an encoder did.

    Attributes:
        source: its name.
        size: bytes of its weights on this machine; None if unknown.
        evaluation: cross-validated, of the default method; None if it was left out.
        seconds: to read and encode 100 files, without a cache.
        problem: why it was left out.
    """

    source: str
    size: int | None = None
    evaluation: Evaluation | None = None
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class EncoderChoice:
    """What `choose_encoder` found.

    Attributes:
        encoder: name of the chosen encoder.
        scores: of the candidates; first those scored on the most files, from the cheapest.
        seconds: how long it took.
    """

    encoder: str
    scores: tuple[EncoderScore, ...]
    seconds: float


@apart_from_caller()
def choose_encoder(
    data: Dataset | str | Path,
    candidates: Sequence[AnyEncoder] | None = None,
    budget: float = BUDGET,
    *,
    classes: str | None = None,
    k: PositiveInt | None = None,
    held_out: Share | None = None,
    seed: NonNegativeInt = 0,
    reading: ReadOptions = ReadOptions(cache=True),
    reporter: Reporter = Reporter(),
) -> EncoderChoice:
    """Choose an encoder by its cross-validated score on the training items; those held out for testing are not used.

    Each candidate is scored on a fifth of the items (20 to 200, and at least three of each class), then the best three
    on as many as the time allows. A candidate is chosen in place of a cheaper one only if its lead is significant; with
    fewer than 100 items, if its score is higher.

    Args:
        data: labelled items, or their source as for `read_dataset`.
        candidates: encoders to choose from; those on this machine if None. For images, video encoders are left out.
        budget: seconds. A candidate that would take more than its share is left out.
        classes, k, held_out, seed: as for `train`, so that the training items are the same.
        reading: how files are read and encoded.
        reporter: gets progress.

    Raises:
        DataError: as for `train`.
        EncoderError: no candidate can be scored.
    """
    start, train = time.monotonic(), divide(as_dataset(data), seed=seed, held_out=held_out, k=k).train
    here = {row.source: row for row in encoders_here()}
    named = [row.source for row in here.values() if not row.problem] if candidates is None else candidates
    pairs = [(options, here.get(str(options.source))) for options in map(EncoderOptions.from_encoder, named)]
    pairs = [(options, row) for options, row in pairs if not (row and "video" in row.kind and train.only_images)]
    pairs.sort(key=lambda pair: pair[1].on_disk or 0 if pair[1] else 0)
    items = train.select(_by_turns(train, seed))
    division, quiet = Division(items, None, items.select([]), ""), replace(reporter, note=silent)
    finalists: list[_Candidate] = []
    others: list[EncoderScore] = []
    for number, (options, row) in enumerate(pairs):
        now, source, size = time.monotonic(), str(options.source), row and row.on_disk
        until = now + (_LOOK * budget - (now - start)) / (len(pairs) - number)
        try:
            experiment = load_experiment(division, options, classes, {"seed": seed}, reading, quiet)
            candidate = _Candidate(experiment, source, size)
            candidate.look(until)
            finalists.append(candidate)
        except EncoderError as problem:
            others.append(EncoderScore(source, size, problem=str(problem)))
        finalists.sort(key=lambda each: (-each.evaluation.rate[0], each.seconds))
        others[:0] = [worse.score for worse in finalists[_FINALISTS:]]
        del finalists[_FINALISTS:]  # And with it the encoder.
    if not finalists:
        raise EncoderError("; ".join(["no encoder can be scored", *(f"{e.source}: {e.problem}" for e in others)]))
    # On the same items: as many more as there is time for.
    left = 0.8 * (budget - (time.monotonic() - start)) / sum(each.cost for each in finalists)
    count = min(len(items), _MOST, max(0, int(left)) + min(each.count for each in finalists))
    finalists.sort(key=lambda each: each.seconds)
    best = finalists[0]
    for each in finalists:
        each.validate(count)
        own = each.evaluation
        points, low, _ = own.lead_over(best.evaluation, own.groups or range(own.count))
        best = each if (low if own.count >= _MANY else points) > 0 else best
    return EncoderChoice(best.source, (*(each.score for each in finalists), *others), time.monotonic() - start)


class _Candidate:
    """An encoder that is scored.

    Attributes:
        count: the items that it is scored on, the first ones.
        seconds: to read and encode an item without a cache.
        cost: seconds for one more item: to encode it, and its part of the cross-validation.
    """

    evaluation: Evaluation
    count, seconds, cost = 0, 0.0, 0.0

    def __init__(self, experiment: Experiment, source: str, size: int | None):
        self.experiment, self.source, self.size = experiment, source, size

    @property
    def score(self) -> EncoderScore:
        """The public record."""
        return EncoderScore(self.source, self.size, self.evaluation, 100 * self.seconds)

    def look(self, until: float) -> None:
        """Score the encoder on a part of the items, which ends in time.

        Raises:
            EncoderError: it would take too long, or there are too few items.
        """
        items = self.experiment.division.train
        most, least = (min(len(items), max(each, MIN_ITEMS * len(items.classes))) for each in (_LOOK_ITEMS, _FEWEST))
        self.seconds = _seconds_per_file(self.experiment.frozen, items.paths, until)
        keep_speed(self.source, 100 * self.seconds)
        start = time.monotonic()
        if least * self.seconds > until - start:
            share = f"its share of the time is {max(until - start, 0):.0f} s"
            raise EncoderError(f"{least} files would take {least * self.seconds:.0f} s, {share}")
        self.validate(int(min(max(least, min(most, len(items) / 5)), (until - start) / self.seconds)))
        self.cost = max(self.seconds, (time.monotonic() - start) / self.count)

    def validate(self, count: int) -> None:
        """Cross-validate the default method on the first items."""
        experiment, self.count = self.experiment, count
        items = experiment.frozen.items(experiment.division.train.select(range(count)), experiment.labels)
        cv = folds(items, seed=experiment.recipe.seed)
        cv = cv if cv.pairs else folds(items, seed=experiment.recipe.seed, least=2)
        if not cv.pairs:
            raise EncoderError("a cross-validation needs two classes with 2 or more items: label more files")
        self.evaluation = cross_validated(experiment.changed(items=items), experiment.methods[0], cv)


def _seconds_per_file(frozen: FrozenEncoder, paths: Sequence[Path], until: float) -> float:
    """Return the seconds to read and encode a file without a cache; of eight if there is time for them."""
    frozen = FrozenEncoder(frozen.encoder, frozen.protocol, replace(frozen.reading, cache=False), frozen.reporter)
    seconds = 0.0
    for number, count in enumerate((1, 1, 8)):  # The first loads the network.
        start = time.monotonic()
        frozen.files(paths[:count])
        seconds = (time.monotonic() - start) / len(paths[:count])
        if number and 80 * seconds > until - start:
            break
    return seconds


def _by_turns(data: Dataset, seed: int) -> list[int]:
    """Return the positions of the items in random order, one of each class in turn while it has any."""
    of_class = [*data.shuffled(seed).values()]
    return [own[turn] for turn in range(max(map(len, of_class))) for own in of_class if turn < len(own)]
