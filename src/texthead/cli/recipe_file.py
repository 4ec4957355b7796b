"""Recipes on the command line: by name or from a YAML file, with changes, and as YAML to edit."""

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from texthead.cli.parser import Option, texts_of
from texthead.errors import DataError, did_you_mean, either
from texthead.files import read_yaml
from texthead.recipes import RECIPES, Recipe, RecipeName
from texthead.text.prompts import class_prompts, read_template


class ChosenRecipe(NamedTuple):
    """A recipe by the name of its function, and the values that differ from it."""

    name: RecipeName
    values: dict[str, Any]


@cache
def recipe_options() -> dict[str, Option]:
    """Return the keys of a recipe with their types and descriptions."""
    hints, texts = get_type_hints(Recipe, include_extras=True), texts_of(Recipe)
    names = [field.name for field in fields(Recipe) if field.name != "name"]
    return {name: Option.from_hint(name, hints[name], text=texts[name], default=None) for name in names}


def choose_recipe(source: str, changes: Sequence[str]) -> ChosenRecipe:
    """Return the recipe of a name or a YAML file, with changes such as "epochs=10".

    The key `base` of the file names the recipe of all other values, `small` if it is missing.

    Raises:
        DataError: there is no such recipe or key, a key occurs twice, or a value has another type.
        RunError: a value is out of range.
    """
    values: dict[str, Any] = {}
    if source in RECIPES:
        name = source
    else:
        path = Path(source)
        if path.suffix.lower() not in (".yaml", ".yml"):
            near = did_you_mean(source, [*RECIPES])
            raise DataError(f"--recipe must be {', '.join(RECIPES)} or a .yaml file, got '{source}'{near}")
        texts = read_yaml(path, "'base: small' and 'epochs: 10', a key a line")
        name = texts.pop("base", "small")
        if name not in [*RECIPES]:
            raise DataError(f"{path}: base must be {either([*RECIPES])}, got {name!r}")
        values = {key: _value(source, key, "null" if text in ("", "~") else text) for key, text in texts.items()}
    given: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise DataError(f"--set {change}: needs a key and a value, such as --set epochs=10")
        if key in given:
            raise DataError(f"--set {change}: {key} is set twice; set it once")
        given[key] = _value(f"--set {change}", key, text)
    values |= given
    RECIPES[name](**values)
    return ChosenRecipe(name, values)


def _value(where: str, key: str, value: object) -> Any:
    """Return the value of a recipe's key from a text, or from what a YAML file holds."""
    option = recipe_options().get(key)
    if option is None:
        remedy = did_you_mean(key, [*recipe_options()]) or "; --print-recipe lists them"
        raise DataError(f"{where}: recipes have no key {key!r}{remedy}")
    try:
        if key == "template":
            if not isinstance(value, list):
                return read_template(str(value))
            class_prompts(templates := tuple(map(str, value)), ["x"])
            return templates
        if key == "scale" and value == "learned":
            return value
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        return option.read(text)
    except (ArgumentTypeError, DataError) as error:
        problem = str(error) if key == "template" else f"{key} {error}"
        raise DataError(f"{where}: {problem}") from None


def recipe_text(chosen: ChosenRecipe) -> str:
    """Return a recipe as a YAML file for `--recipe`, each key with its meaning."""
    import yaml

    recipe = RECIPES[chosen.name](**chosen.values)
    lines = [f"# texthead train DATA --tune all --recipe FILE.yaml. Keys that you remove come from {chosen.name}.", ""]
    lines.append(f"base: {chosen.name}")
    for key, option in recipe_options().items():
        value = getattr(recipe, key)
        plain = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        text = (
            yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000).removesuffix("...\n").strip()
        )
        lines.append(f"{key}: {text}  # {option.text.partition(';')[0].partition('. ')[0].rstrip('.')}")
    return "\n".join(lines) + "\n"
