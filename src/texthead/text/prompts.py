"""Make prompts from templates, class names and sentences. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from texthead.errors import DataError, check_as_many, converted, listed, naming, raising
from texthead.files import read_value, without_twins
from texthead.text.class_names import check_names, clean_name, clean_names, read_names, text_lines


def check_template(template: str) -> None:
    """Raise DataError unless the template contains exactly one `{}`."""
    if template.count("{}") != 1:
        raise DataError(f"`template` must contain exactly one '{{}}' for the class name, got {template!r}")


def fill_template(template: str, names: Sequence[str]) -> list[str]:
    """Return one prompt per name: the template with the name in place of `{}`.

    Source: Sec. 4.2, text input forms ("a video of a person {label}.").

    Raises:
        DataError: the template does not contain exactly one `{}`.
    """
    check_template(template)
    before, after = template.split("{}")
    return [f"{before}{name}{after}" for name in names]


def flat(prompts: Sequence[str | Sequence[str]]) -> list[str]:
    """Return all prompts of all classes as one list, in order."""
    return [prompt for one_class in prompts for prompt in ([one_class] if isinstance(one_class, str) else one_class)]


def read_template(text: str) -> str | tuple[str, ...]:
    """Return the text as a template, or the templates in the file that it names (`.txt`, one per line).

    Raises:
        DataError: the file is missing or not text, or a template does not contain exactly one `{}`.
    """
    if "{}" in text or not text.lower().endswith(".txt"):
        check_template(text)
        return text
    lines = tuple(line for line in text_lines(Path(text), "templates") if line)
    class_prompts(lines, ["x"])
    return lines


def class_prompts(
    template: str | Sequence[str],
    names: Sequence[str],
    sentences: Sequence[str | Sequence[str] | None] | None = None,
) -> list[str | tuple[str, ...]]:
    """Return the prompt or prompts of each class: its own sentences if it has any, else the filled template.

    class_prompts("a {}.", ["cat", "dog"], [None, ("a hound", "a puppy")]) is ["a cat.", ("a hound", "a puppy")].

    Args:
        template: with several templates, a class has a prompt per template.
        sentences: for each class its own sentences, or None for the template.

    Source: Table 4, "multiple fixed templates".

    Raises:
        DataError: there is no template, one occurs twice, or one does not contain exactly one `{}`; or a class has an
            empty sentence or an empty list.
    """
    prompts: list[str | tuple[str, ...]]
    if isinstance(template, str):
        prompts = [*fill_template(template, names)]
    else:
        if not template or len(set(template)) < len(template):
            raise DataError(f"`template` must have one or more distinct sentences, got {list(template)}")
        prompts = [*zip(*(fill_template(one, names) for one in template), strict=True)]
    if sentences is None:
        return prompts
    check_as_many(names=names, prompts=sentences)
    for i, (name, own) in enumerate(zip(names, sentences, strict=True)):
        if own is None:
            continue
        own = flat([own])
        if not (own and all(sentence.strip() for sentence in own)):
            raise DataError(f"class {name!r} has an empty sentence or an empty list: add one, or use the template")
        prompts[i] = own[0] if len(own) == 1 else tuple(own)
    return prompts


class LabelledClasses(NamedTuple):
    """Classes in order: label in the data, name for the text encoder, own sentences or None."""

    labels: list[str]
    names: list[str]
    sentences: list[tuple[str, ...] | None]


def labelled_classes(
    labels: Sequence[str], source: str, file: str | None, *, template: object = None, clean: bool = True
) -> LabelledClasses:
    """Return all classes, each under its label in the data, which equals the class name or has it as `clean_name`.

    With `push up` and `yoga` in `file`, the labels for data with "push_up" are "push_up" and "yoga".

    Args:
        labels: labels of the data.
        source: path of the data, for messages.
        file: a file or list of classes for `read_classes`; if None, the labels are the classes.
        template: the template, if it is set.
        clean: clean the names with `clean_names`.

    Raises:
        DataError: as `read_classes`; a label matches no class, two labels match the same class, or a template is set
            but every class has sentences.
    """
    classes = dict.fromkeys(labels) if file is None else read_classes(file)
    originals = list(classes)
    names = clean_names(originals) if clean else originals
    if file is None:
        return LabelledClasses(originals, names, [None] * len(names))
    if template is not None and classes and None not in classes.values():
        raise DataError(f"`template` {template!r} has no effect: every class has its own sentences; remove `template`")
    index_of = {name: i for i, name in enumerate(names)} | {name: i for i, name in enumerate(originals)}
    data_labels = list(originals)
    taken: dict[int, str] = {}
    for label in labels:
        key = label if label in index_of else clean_name(label)
        if key not in index_of:
            raise DataError(
                f"{source}: label {label!r} is not one of the {len(originals)} names in `classes`: list "
                "every label, in a .json with null to keep a name"
            )
        index = index_of[key]
        if index in taken:
            raise DataError(
                f"{source}: labels {taken[index]!r} and {label!r} both match {originals[index]!r} in `classes`: "
                "add a class for each, or merge them in the data"
            )
        taken[index] = data_labels[index] = label
    return LabelledClasses(data_labels, names, list(classes.values()))


def classes_to_train(
    labels: Sequence[str], source: str, file: str | None, *, template: object = None, clean: bool = True
) -> tuple[list[str], list[tuple[str, ...] | None], list[str]]:
    """Return (the class name of each training label, its sentences or None, a note on classes without items).

    Raises:
        DataError: as `labelled_classes`.
    """
    classes = labelled_classes(labels, source, file, template=template, clean=clean)
    indices = [classes.labels.index(label) for label in labels]
    unused = [label for label in classes.labels if label not in labels]
    notes = [f"{file}: skipped classes without training items: {listed(unused)}"] if unused else []
    return [classes.names[i] for i in indices], [classes.sentences[i] for i in indices], notes


def read_classes(source: str) -> dict[str, tuple[str, ...] | None]:
    """Return the sentences of each label; None if the template makes its prompt.

    A `.json` file is an object: label -> a sentence, a list of sentences, or null for the template; or the
    `classes.json` of a run. `read_names` reads everything else.

    Raises:
        DataError: the file is missing or another kind of file, a label occurs twice, or a class has an empty sentence
            or an empty list.
    """
    path = Path(source)
    if path.suffix.lower() != ".json":
        return dict.fromkeys(read_names(source))
    form = '{"archery": ["a person shooting a bow", "archery"], "a kite": null}'
    with raising(DataError, f"{path}: cannot be read as JSON", f"use a .json of classes such as {form}"):
        value = read_value(path, pairs=without_twins)
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected an object such as {form}, found {type(value).__name__}")
    entries = value.get("classes")
    if isinstance(entries, list) and all(isinstance(each, dict) and {"label", "prompt"} <= {*each} for each in entries):
        value = {each["label"]: each["prompt"] for each in entries}  # Of a run.
    with naming(path):
        check_names(list(value))
        texts = {
            label: None if own is None else flat([converted(label, own, str | Sequence[str])])
            for label, own in value.items()
        }
        class_prompts("{}", [*texts], [*texts.values()])  # Raises an error for an empty sentence.
    return {label: None if own is None else tuple(map(str.strip, own)) for label, own in texts.items()}
