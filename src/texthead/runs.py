"""The run folder: what a recogniser needs to live on, written so that a crash never leaves half a file.

recipe.json        hyper-parameters, visual encoder, temporal module, head
classes.json       one entry a class: label, name, prompt; and how the classes were edited after training
split.json         which files were trained on and which were held out
metrics.jsonl      one line an optimiser step, one a validation
model.safetensors  all weights, the head's rows among them
state/             what --resume continues from
encoder/           of an imported run: the image and text towers of the file, in open_clip's format
scores.json        what `texthead train` scored at its end, and what stands beside it
calibration.json   temperature, threshold and sets, where `texthead calibrate` has found them
report.html        the report
"""

import fcntl
import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from texthead.calibration import Calibration
from texthead.checkpoints import check_not_edited
from texthead.datasets import Pixels
from texthead.encoders import load_encoder
from texthead.errors import DataError, RunError, TextheadError
from texthead.files import fingerprint, read_json, replacing, write_json
from texthead.heads import CosineHead, FrozenHead, LinearHead, ProbeHead, TemplatesHead, TrainableHead, text_head
from texthead.prompt_head import PromptHead
from texthead.prompts import class_prompts
from texthead.recipes import Recipe, check_clip_size
from texthead.recognizer import Recognizer
from texthead.shard_files import is_member, resolved
from texthead.temporal import Temporal, make_temporal
from texthead.text_files import MOST_BYTES_OF_LISTS
from texthead.towers import Encoder, Visual, VisualSpec, build_visual
from texthead.weights import sized_as

FORMAT = 3
# What recipes of an older format did not hold, since there was nothing else.
_BEFORE: dict[int, dict[str, object]] = {2: {"patch_dropout": 0.0}}
# What stands for the run's own folder in the source of an encoder that lies in it.
HERE = "{run}"
ENCODER = "encoder"
CALIBRATION = "calibration.json"
Head = FrozenHead | TrainableHead | TemplatesHead | PromptHead | LinearHead | ProbeHead


def begun_with(folder: Path) -> dict:
    """The options of the command that began the run in a folder.

    Raises:
        RunError: no run there, or one that a program began, or whose classes were edited since.
    """
    if not is_run(folder):
        raise RunError(f"{folder}: no run to resume (no recipe.json in it); leave out --resume to start one")
    check_not_edited(folder)
    command = read_json(folder / "recipe.json").get("command")
    if not isinstance(command, dict):
        raise RunError(f"{folder}: was not begun by `texthead train`; resume it by the program that began it")
    return command


def is_run(path: str | Path) -> bool:
    """Whether the path is a folder with a recipe.json."""
    return (Path(path) / "recipe.json").is_file()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process.

    Raises:
        RunError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); choose a folder that can be") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{folder}: in use by another process; wait for it or choose another folder") from None
        yield


@dataclass(frozen=True)
class Run:
    """A recogniser read back from its folder.

    `classes` is what `classes.json` says of the head's rows: entries, edits so far (`history`), and the digest of the
    rows in the folder. It is None where the head is not the folder's, after `with_classes`. `text_tuned` says that the
    rows come from a text encoder that was trained with the run (online matching) and is not in the folder.
    `calibration` is what the folder holds of it; `prediction.calibration_for` says what of it holds for these rows.
    """

    folder: Path
    model: Recognizer
    recipe: Recipe
    spec: VisualSpec
    pixels: Pixels
    trained_on: frozenset[str]
    held_out: tuple[str, ...]
    trained_content: frozenset[str]
    held_out_content: frozenset[str]
    classes: dict[str, Any] | None = None
    text_tuned: bool = False
    calibration: Calibration | None = None

    def was_trained_on(self, path: Path) -> bool:
        """Whether the file is a training item: by its path, or as a copy of one elsewhere."""
        return self._is_among(path, self.trained_on, self._only_trained, self._held)

    def was_held_out(self, path: Path) -> bool:
        """Whether the file is an item that the run held out: by its path, or as a copy of one elsewhere."""
        return self._is_among(path, self._held, self.held_out_content, self.trained_on)

    @cached_property
    def _only_trained(self) -> frozenset[str]:
        return self.trained_content - self.held_out_content

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset(self.held_out)

    @property
    def carries_encoder(self) -> bool:
        """Whether the encoder lies in the run itself: an imported one, of which nothing is known before training."""
        return self.spec.source.endswith(f":{self.folder}/{ENCODER}")

    @staticmethod
    def _is_among(path: Path, paths: Collection[str], contents: Collection[str], others: Collection[str]) -> bool:
        if is_member(path):  # Its path says where it lies in a shard, which can be made anew of other clips.
            return fingerprint(path) in contents
        name = str(resolved(path))
        return name in paths or (name not in others and fingerprint(path) in contents)

    @property
    def labels(self) -> tuple[str, ...]:
        """The data's labels, in the order of the head's rows."""
        return self.model.names

    def encoder(self, *, keep_text: bool = False) -> Encoder:
        """The encoder as it was before training, with the text half that the head's rows came from."""
        head = self.model.head
        text = head.text_source if isinstance(head, CosineHead) else None
        text_map = head.text_map if isinstance(head, CosineHead) else None
        text_map = None if text_map is None else text_map.cpu()
        return load_encoder(self.spec.source, text=text, text_map=text_map, keep_text=keep_text)

    def check_text_is_kept(self) -> None:
        """Nothing, if new names can have rows beside those of the run.

        Raises:
            RunError: the text encoder was trained with the run and is not kept.
        """
        if self.text_tuned:
            raise RunError(
                f"{self.folder}: its text encoder was trained with it and is not kept, so other names have no rows "
                "that fit: train with frozen text for those"
            )

    @property
    def rows_are_text(self) -> bool:
        """Whether the encoder was trained, if at all, against rows that a text encoder gave."""
        return getattr(self.model.head, "kind", "") in ("text", "prompt")

    def lost_by_other_classes(self) -> list[str]:
        """What is lost where text rows take the place of the run's own, a sentence each."""
        said = []
        if not self.rows_are_text:
            said.append(
                f"the rows of {self.folder} are no text (its head is {self.model.head.kind}), so names may mean little "
                "to what was trained against them: the encoder alone may name better (leave RUN out); --head text "
                "trains for new names"
            )
        if self.calibration is not None:
            said.append(
                "the run's calibration is of its own classes; probabilities of these are as the head gives them"
            )
        return said

    def with_classes(
        self,
        labels: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        template: str | Sequence[str] | None = None,
        prompts: Sequence[str | Sequence[str] | None] | None = None,
        encoder: Encoder | None = None,
    ) -> "Run":
        """The same run with a text head for other classes, behind its own center and logit scale.

        Args:
            labels: what predictions say.
            names: what the text encoder reads for each label; the labels themselves if None.
            template: the run's own if None, a learned one too.
            prompts: each label's own sentence, or several whose rows are averaged, or None for the template.
            encoder: what `encoder` gives, if it is at hand; loaded if None.

        Source: Tables 9 and 11: new names behind the same model.

        Raises:
            RunError: the text encoder was trained with the run and is not kept.
        """
        self.check_text_is_kept()
        old, encoder = self.model.head, encoder or self.encoder()
        if isinstance(old, PromptHead) and template is None:
            if any(prompts or []):
                raise DataError(f"{self.folder}: has a learned template: give names without sentences, or a template")
            head = old.for_names(encoder.text, labels, read=names).to(old.context.device)
            return replace(self, model=self.model.with_head(head), classes=None, calibration=None)
        center: Tensor | None = getattr(old, "center", None)
        names = names or labels
        head = text_head(
            encoder,
            names,
            scale=old.scale if isinstance(old, CosineHead) else None,
            center=None if center is None else center.cpu(),
            pooling=old.pooling if isinstance(old, TemplatesHead) else "features",
            prompts=class_prompts(template or self.recipe.template, names, prompts or [None] * len(names)),
        )
        head = head.renamed(labels).to(old.weight.device)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return replace(self, model=self.model.with_head(head), classes=None, calibration=None)


def describe(model: Recognizer, recipe: Recipe, pixels: Pixels) -> dict[str, object]:
    """What `recipe.json` holds.

    Raises:
        RunError: a head or temporal module that could not be built again from the folder alone.
    """
    head: Head = model.head  # pyright: ignore[reportAssignmentType]
    if type(head) not in get_args(Head):
        kinds = ", ".join(kind.__name__ for kind in get_args(Head))
        raise RunError(
            f"head is a {type(head).__name__}: a run holds {kinds}; "
            "hand your rows to FrozenHead(rows, names=..., kind='...') or TrainableHead"
        )
    if type(model.temporal) not in get_args(Temporal):
        kinds = ", ".join(kind.__name__ for kind in get_args(Temporal))
        raise RunError(f"temporal module is a {type(model.temporal).__name__}: a run holds {kinds}")
    return {
        "format": FORMAT,
        "recipe": recipe.to_json(),
        "encoder": model.visual.spec.to_json(),  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        "pixels": asdict(pixels),
        "temporal": model.temporal.config(),  # pyright: ignore[reportCallIssue]
        "head": {
            "kind": head.kind,
            "type": type(head).__name__,
            "center": getattr(head, "center", None) is not None,
            "text": getattr(head, "text_source", None),
            "text_map": None if getattr(head, "text_map", None) is None else list(head.text_map.shape),  # pyright: ignore
            **_own_options(head),
        },
    }


def _own_options(head: Head) -> dict[str, object]:
    if isinstance(head, TemplatesHead):
        return {"templates": len(head.variants), "draw": head.draw, "pooling": head.pooling}
    if isinstance(head, PromptHead):
        return {"context": list(head.context.shape), "after": head.after}
    return {}


def classes_json(head: Head, names: Sequence[str] | None, template: str | Sequence[str]) -> dict[str, object]:
    """What `classes.json` holds: each label, its class name, and the exact strings behind its row if it is text."""
    prompts: Sequence[object] = getattr(head, "prompts", None) or [None] * len(head.names)
    rows = zip(head.names, names or head.names, prompts, strict=True)
    return {
        "template": template if isinstance(template, str) else list(template),
        "classes": [
            {"label": label, "name": name, "prompt": list(prompt) if isinstance(prompt, tuple) else prompt}
            for label, name, prompt in rows
        ],
    }


def save_model(path: Path, model: nn.Module) -> None:
    """All parameters and buffers into one safetensors file, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside)


def write_run(
    out: Path,
    model: Recognizer,
    recipe: Recipe,
    pixels: Pixels,
    names: Sequence[str],
    split: dict[str, object],
    **about: object,
) -> None:
    """The folder of a run that needs no training loop; what makes it a run comes last.

    Args:
        names: as a text encoder reads the labels.
        split: what `split.json` holds.
        about: what `recipe.json` holds beside the model.
    """
    write_json(out / "split.json", split)
    write_json(out / "classes.json", classes_json(model.head, names, recipe.template))  # pyright: ignore[reportArgumentType]
    save_model(out / "model.safetensors", model)
    write_json(out / "recipe.json", {**describe(model, recipe, pixels), "command": None, **about})


def rows_digest(rows: Float[Tensor, "classes dim"]) -> str:
    """A digest of a head's rows, to the bit."""
    return hashlib.sha256(rows.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:32]


def saved_classes(folder: Path) -> dict[str, Any]:
    """What `classes.json` says of the rows in `model.safetensors`.

    An edit of the rows writes `classes.json` first, with the classes of the old rows in it as `before`; the new rows
    make it true. So where a crash came between, the old classes stand with the old rows.

    Raises:
        RunError: the file is missing or no JSON object, or it speaks of other rows.
    """
    classes = read_json(folder / "classes.json")
    if not (folder / "model.safetensors").is_file():
        return classes  # As below. Opening a pipe would wait for its other end.
    try:
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            found = rows_digest(file.get_tensor("head.weight"))
    except (OSError, MemoryError, RuntimeError, SafetensorError):
        return classes  # `load_weights` says what is wrong with the file.
    if classes.get("rows", found) == found:
        return {**classes, "rows": found}
    before = classes.get("before")
    if isinstance(before, dict) and before.get("rows") == found:
        history = classes.get("history", [])[: before["edits"]]
        return {**classes, "classes": before["classes"], "history": history, "rows": found}
    raise RunError(
        f"{folder}: classes.json is not about the rows in model.safetensors: restore both from the same copy of the run"
    )


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model from a safetensors file of exactly its keys and shapes.

    Raises:
        RunError: the file is missing, damaged, of another model, or holds NaN or inf.
    """
    shapes = saved_shapes(path)
    try:
        expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
        for key in sorted(set(shapes) | set(expected)):
            if shapes.get(key) != expected.get(key):
                raise RunError(
                    f"{path}: {key!r} has shape {shapes.get(key, 'none')}, this model needs "
                    f"{expected.get(key, 'none')}: the file belongs to another model"
                )
        weights = load_file(path)
        for key, tensor in weights.items():
            # Minus infinity keeps a class from being named.
            if not (tensor < math.inf).all():
                raise RunError(f"{path}: {key!r} holds NaN or inf: restore it from a copy or train again")
        model.load_state_dict(weights)
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it from a copy or train again") from None


def saved_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor in a safetensors file, by name.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise RunError(f"{path}: missing; {path.parent} is no finished run (continue it with --resume)") from None
    except (OSError, MemoryError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{path}: cannot be read ({error}); restore it from a copy or train again") from None


def _empty_head(about: dict, classes: dict, dim: int) -> Head:
    """A head of the right shape, to load weights into."""
    names = [entry["label"] for entry in classes["classes"]]
    if about["type"] == "LinearHead":
        return LinearHead(dim, names=names)
    if about["type"] == "ProbeHead":
        empty = torch.zeros(len(names), dim)
        return ProbeHead(empty, bias=empty[:, 0], center=torch.zeros(dim), names=names, kind=about["kind"])
    prompts = [entry["prompt"] for entry in classes["classes"]]
    options = {
        "center": torch.zeros(dim) if about["center"] else None,
        "text_source": about["text"],
        "text_map": None if about["text_map"] is None else torch.zeros(about["text_map"]),
    }
    if about["type"] == "PromptHead":
        context, read = torch.zeros(about["context"]), [entry["name"] for entry in classes["classes"]]
        rows = torch.ones(len(names), dim)
        return PromptHead(None, names, context=context, after=about["after"], read=read, rows=rows, **options)
    options |= {"names": names, "kind": about["kind"], "prompts": None if None in prompts else prompts}
    if about["type"] == "TemplatesHead":
        variants = torch.ones(about["templates"], len(names), dim)
        return TemplatesHead(variants, draw=about["draw"], pooling=about["pooling"], **options)
    make = {"FrozenHead": FrozenHead, "TrainableHead": TrainableHead}[about["type"]]
    return make(torch.ones(len(names), dim), **options)


def _check_head_size(about: dict, classes: dict, dim: int, shapes: dict[str, tuple[int, ...]]) -> None:
    """Nothing, if the head that is described has no more numbers than the file.

    Raises:
        RunError: it has more.
    """
    rows = [about.get("templates", 1), len(classes["classes"]), dim]
    asked = sum(math.prod(shape) for shape in (rows, about.get("text_map") or [0], about.get("context") or [0]))
    held = sum(map(math.prod, shapes.values()))
    if asked > held:
        raise RunError(f"its head has {asked:,} numbers, model.safetensors {held:,}: they do not belong together")


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of files is none of texts")
    return values


def _saved_calibration(folder: Path) -> Calibration | None:
    """What `calibration.json` holds; None without one."""
    path = folder / CALIBRATION
    if not path.exists():
        return None
    try:
        return Calibration.from_json(read_json(path, most=MOST_BYTES_OF_LISTS))
    except ValueError as error:
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{path}: {told}; `texthead calibrate` writes it anew once it is removed") from None


def save_calibration(run: Run, calibration: Calibration) -> Run:
    """The run with the calibration, after it was written into its folder.

    Raises:
        RunError: the folder is held by another process, or cannot be written.
    """
    with locked(run.folder):
        write_json(run.folder / CALIBRATION, calibration.to_json())
    return replace(run, calibration=calibration)


def _recipe_and_pixels(about: dict[str, Any], written_as: int, folder: Path) -> tuple[Recipe, Pixels]:
    """The hyper-parameters and sizes in `recipe.json`."""
    try:
        recipe = Recipe.from_json({**_BEFORE.get(written_as, {}), **about["recipe"]})
        pixels = Pixels(**about["pixels"])
        check_clip_size(recipe.frames, pixels.size, pixels.resize)
    except RunError as error:
        raise RunError(f"{folder / 'recipe.json'}: {error}") from None
    return recipe, pixels


def load_run(folder: str | Path) -> Run:
    """The recogniser in a run folder, ready to predict. Neither a text encoder nor pretrained weights are needed.

    Raises:
        RunError: the folder is no finished run, or a file in it does not fit the others.
        EncoderError: its encoder is not known to the installed libraries.
    """
    folder = Path(folder)
    if not is_run(folder):
        raise RunError(f"{folder}: no run (no recipe.json in it); `texthead train DATA --out {folder}` makes one")
    about, written = read_json(folder / "recipe.json"), read_json(folder / "classes.json")
    split = read_json(folder / "split.json", most=MOST_BYTES_OF_LISTS)
    written_as = about.get("format")
    if written_as not in (FORMAT, *_BEFORE):
        raise RunError(
            f"{folder}: format {written_as!r}, this version reads {', '.join(map(str, _BEFORE))} and {FORMAT}: use the "
            "version that made it"
        )
    try:
        classes = saved_classes(folder)
        spec = VisualSpec.from_json(about["encoder"])
        # An imported run carries its encoder; it may have been moved.
        spec = replace(spec, source=spec.source.replace(HERE, str(folder)))
        shapes = saved_shapes(folder / "model.safetensors")
        with sized_as(shapes.values(), str(folder / "recipe.json")):
            make_temporal(about["temporal"], build_visual(spec))
        _check_head_size(about["head"], classes, spec.dim, shapes)
        visual: Visual = build_visual(spec)
        model = Recognizer(
            visual, make_temporal(about["temporal"], visual), _empty_head(about["head"], classes, spec.dim)
        )
        recipe, pixels = _recipe_and_pixels(about, written_as, folder)
        trained_on, held_out = frozenset(_texts(split["train"])), tuple(_texts(split["held_out"]))
        # Files that could not be read have no content to be known by.
        contents = [frozenset(_texts(split[key])) - {""} for key in ("train_content", "held_out_content")]
    except TextheadError:
        raise
    except KeyError as error:
        raise RunError(f"{folder}: recipe.json, classes.json or split.json lacks {error}") from None
    except Exception as error:  # timm, open_clip and torch make nearly every kind of values that no run has.
        told = " ".join(str(error).split())[:200]
        raise RunError(f"{folder}: recipe.json, classes.json or split.json holds what no run has ({told})") from None
    load_weights(folder / "model.safetensors", model)
    rows: Tensor = model.head.weight  # pyright: ignore[reportAssignmentType]
    if rows_digest(rows) != classes["rows"] or read_json(folder / "classes.json") != written:
        raise RunError(f"{folder}: its classes were edited while it was read: try again")
    tuned = (about.get("objective") or {}).get("text") == "online"
    trained = model.eval(), recipe, spec, pixels, trained_on, held_out, *contents
    return Run(folder, *trained, classes=classes, text_tuned=tuned, calibration=_saved_calibration(folder))
