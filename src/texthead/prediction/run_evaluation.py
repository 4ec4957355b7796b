"""The parts of the evaluation of a run: its titles, notes and lines."""

from texthead.data.protocol import Protocol
from texthead.evaluation.calibration import Calibration
from texthead.evaluation.intervals import rate_text
from texthead.evaluation.results import Evaluation


def protocol_changes(protocol: Protocol, own: Protocol, mix: float) -> str:
    """Return how the run sees the items, where that is not as in training, to append to the title of its result.

    Args:
        own: the run's own protocol.
        mix: weight of the trained encoder.
    """
    now, before = protocol.views, own.views
    pairs = (
        ("mix", f"{mix:g}", "1"),
        ("origin", now.origin, before.origin),
        ("stride", now.stride, before.stride),
        ("crops along", now.along, before.along),
        ("short side", protocol.sizes.resize, own.sizes.resize),
        ("decode", protocol.sizes.decode, own.sizes.decode),
    )
    parts = [f"{now} views, mean of {protocol.pooling}"] if now.count > 1 else []
    parts += [f"{protocol.frames} frames"] if protocol.frames != own.frames else []
    parts += [f"{name} {value}" for name, value, old in pairs if value != old]
    return "".join(f", {part}" for part in parts)


def guarantee_lines(calibration: Calibration, result: Evaluation, new: Evaluation | None) -> list[str]:
    """Return lines on what threshold and sets do to the items that were not used for the calibration.

    Args:
        new: those of the items that it was not fitted to; None if there is none.
    """
    lines = list[str]()
    if new is not result:
        left = new.count if new else 0
        rest = (
            f"rates of threshold, sets and answers are those of the other {left}"
            if new
            else "use other items to test it"
        )
        seen = f"{result.count - left} of these {result.count} items"
        lines.append(f"the calibration was fitted to {seen}, for which its ECE is too low: {rest}")
    if not new:
        return lines
    result = new
    if calibration.threshold and not calibration.level:
        rejected = ~calibration.accepts(result.scores)
        right = int((rejected & (result.scores.argmax(1) == result.targets)).sum())
        lines.append(
            f"none of these: the threshold rejects {rate_text(rejected, result.groups)} of the items (best probability "
            f"not above {calibration.threshold.probability:.3f}); the best name of {right} of them is correct"
        )
    if calibration.coverage:
        sets, held = calibration.prediction_sets(result.scores), calibration.covers(result.scores, result.targets)
        lines.append(
            f"prediction sets: {rate_text(held, result.groups)} contain the true class "
            f"(target {100 * calibration.coverage.level:g} %), "
            f"{float(sets.sum(1).float().mean()):.2f} classes on average"
        )
    return lines
