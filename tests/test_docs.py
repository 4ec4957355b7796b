"""The README and docs/: each command runs as printed, the reference matches the parser, and the site builds."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import texthead
from made import with_bridge, write_image, write_video
from ranked import write_encoder
from texthead.cli.main import COMMANDS
from tools import api, site

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# A small local encoder replaces this one, which would be downloaded; everything else runs as printed.
FETCHED = "openclip:ViT-B-16/openai"
COLOURS = {"a kite in the air": "red", "a bird": "green", "an airplane": "blue"}
PHOTOS = {"dress": "red", "hat": "green", "shoes": "blue"}
TRAININGS = ("texthead train clips --out run", "texthead train clips.csv --out run")
RECIPE_ROW = r"^\| `(\w+)` \|.*\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$"
# `python -m paper` needs the checkout.
SETTINGS = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
# Trackers write into the folder of the page; where they are not installed, modules with the same calls do nothing.
SETTINGS |= {"WANDB_MODE": "offline", "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_TRACKING_URI": "file:./mlruns"}
TRACKERS = {
    "mlflow": """from contextlib import nullcontext as start_run

def log_params(params): assert all(isinstance(name, str) for name in params)
def log_metrics(metrics, step): assert all(isinstance(value, int | float) for value in metrics.values())
def log_artifact(local_path): assert open(local_path)
""",
    "wandb": """from contextlib import nullcontext

def init(project, config): return nullcontext()
def log(data, step): assert data
""",
}
# Pages that are made when the site is built, and a text on each.
GENERATED = {
    "reference/api/prediction.html": "texthead.load_run",
    "explanation/modules.html": "text_only",
    "how-to/extend.html": "BiasedHead",
    "reference/commands.html": "--held-out",
    "reference/dependencies.html": "safetensors",
    "llms.txt": "](reference/recipes.html)",
}
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *DOCS.rglob("*.md"))
    if re.search(r"^```(sh|python)", path.read_text("utf-8"), re.M)
)


def commands(text: str) -> Iterator[list[str]]:
    """Yield each shell command of a page, then all its Python blocks as one program."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.split("#")[0].strip():
                yield ["bash", "-euo", "pipefail", "-c", line]
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    # Blocks that begin with a docstring, or include a file of examples/, are modules: test_examples.py and test_how_to.py.
    if program := "\n".join(block for block in blocks if not block.startswith(('"""', "--8<--"))):
        yield ["python", "-c", program]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for $PATH with the `texthead`, `torchrun` and `python` of the tests."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in {"texthead": "-m texthead", "torchrun": "-m torch.distributed.run", "python": ""}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages expect."""
    folder, rows = tmp_path_factory.mktemp("files"), []
    for label, colour in COLOURS.items():
        for i in range(6):
            write_video(folder / "clips" / label / f"{i:02d}.mp4", colour, frames=8 + i, seed=i)
            rows.append(f"clips/{label}/{i:02d}.mp4,{label},{'test' if i > 3 else 'train'}")
    photos = ["path,label"]
    for label, colour in PHOTOS.items():
        for i in range(5):
            write_image(folder / "photos" / label / f"{i}.jpg", colour, seed=i)
            # Without shoes: doctor rightly says that plain colours fit another name better.
            photos += [f"photos/{label}/{i}.jpg,{label}"] * (label != "shoes")
        write_image(folder / "new" / f"{label}.jpg", colour, seed=9)
    (folder / "photos.csv").write_text("\n".join(photos) + "\n")
    pairs = [f"{label}/{i},{label}" for label in PHOTOS for i in range(5)]
    (folder / "species.csv").write_text("\n".join(["image_id,species", *pairs]) + "\n")
    # The photos have their colour as a second label, or none.
    snaps = [
        f"photos/{label}/{i}.jpg,{f'{label}; {colour}' if i else ''}"
        for label, colour in PHOTOS.items()
        for i in range(5)
    ]
    (folder / "snaps.csv").write_text("\n".join(["path,labels", *snaps]) + "\n")
    (folder / "clips.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    (folder / "files.txt").write_text("".join(f"{row.split(',')[0]}\n" for row in rows))
    write_video(folder / "clip.mp4", "red", frames=30, seed=9)
    write_video(folder / "more" / "another.mp4", "green", frames=12, seed=8)
    for i, colour in enumerate(COLOURS.values()):
        write_video(folder / "others" / "a balloon" / f"{i}.mp4", colour, frames=6, seed=20 + i)
    for suffix in ("mp4", "mkv"):
        write_video(folder / f"match.{suffix}", "blue", frames=40, seed=6)
    for suffix in ("jpg", "png"):
        write_image(folder / f"photo.{suffix}", "blue", seed=7)
    (folder / "names.txt").write_text("a kite\na bird\n")
    (folder / "classes.json").write_text(json.dumps({"kite": "a kite on a string", "bird": None}))
    sentences = {"a kite in the air": ["a kite on a string", "a kite above a beach"], "a bird": "a bird flying"}
    (folder / "sentences.json").write_text(json.dumps({**sentences, "an airplane": None}))
    write_lists(folder)
    for name, source in TRACKERS.items():
        if not importlib.util.find_spec(name):
            (folder / f"{name}.py").write_text(source)
    (folder / "small").mkdir()
    write_encoder(folder / "small")
    with_bridge(folder.with_name("runs") / "cache")
    return folder


def write_lists(folder: Path) -> None:
    """Write data in the layouts of UCF-101 and ImageNet."""
    (folder / "ucf_labels.csv").write_text("id,name\n0,Juggling\n1,Archery\n")
    kinds = (("Juggling", "n01440764", "red"), ("Archery", "n01443537", "blue"))
    for split, seeds in (("train", range(4)), ("val", range(4, 6))):
        lines = []
        for label, (name, synset, colour) in enumerate(kinds):
            for seed in seeds:
                stem = f"{name}/v_{name}_{split}{seed}"
                write_video(folder / "UCF-101" / f"{stem}.avi", colour, frames=9, seed=seed, codec="mpeg4")
                lines.append(f"{stem} 9 {label}\n")
                path = folder / "imagenet" / split / synset / f"{synset}_{split}{seed}.JPEG"
                write_image(path.with_suffix(".jpg"), colour, seed=seed).rename(path)
        (folder / f"{split}_rgb_split_1.txt").write_text("".join(lines))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.nightly(name)) for name in PAGES])
def test_each_command_on_a_page_is_run(name: str, programs: Path, prepared: Path) -> None:
    """Each page starts from the same files; a training that several pages start with runs only once."""
    folder, runs = prepared.with_name("page"), prepared.with_name("runs")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(prepared, folder)
    own = {**SETTINGS, "PATH": f"{programs}:{os.environ['PATH']}", "TEXTHEAD_CACHE": str(runs / "cache")}
    text = (ROOT / name).read_text(encoding="utf-8").replace(FETCHED, f"openclip:local-dir:{folder / 'small'}")
    # A YAML block begins with the name of its file.
    for block, file in re.findall(r"^```yaml\n(# (\S+)\n.*?)^```", text, re.MULTILINE | re.DOTALL):
        (folder / file).write_text(block, encoding="utf-8")
    for words in commands(text):
        kept = runs / words[-1] if words[-1] in TRAININGS else None
        if kept and kept.exists():
            shutil.copytree(kept, folder / "run")
            continue
        done = subprocess.run(words, cwd=folder, env=own, capture_output=True, text=True)
        assert done.returncode == 0, f"{words[-1]}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if kept:
            shutil.copytree(folder / "run", kept)


def test_links_lead_to_files_of_the_repository() -> None:
    """The site checks anchors too; pages that only the site has would be missing in a checkout."""
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
        missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
        assert missing == [], path.name


def test_every_block_has_a_language() -> None:
    """Commands in a block without a language would not be tested."""
    for path in DOCS.rglob("*.md"):
        fences = re.findall(r"^```(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "text", "python", "json", "yaml", "console", "dockerfile"}, path.name
        assert set(fences[1::2]) <= {""}, path.name


def test_the_recipe_page_has_every_key_with_its_values() -> None:
    page = (DOCS / "reference" / "recipes.md").read_text(encoding="utf-8")
    rows = {key: (small, paper, logs) for key, small, paper, logs in re.findall(RECIPE_ROW, page, re.MULTILINE)}
    recipes = [make() for make in (texthead.recipes.small, texthead.recipes.paper, texthead.recipes.text4vis)]
    keys = [field.name for field in fields(texthead.Recipe) if field.name != "name"]
    assert rows == {key: tuple(value_text(getattr(recipe, key)) for recipe in recipes) for key in keys}


def value_text(value: object) -> str:
    """Return a recipe's value as the page writes it."""
    if isinstance(value, tuple):
        return ", ".join(map(value_text, value))
    words = {None: "null", True: "true", False: "false"}
    text = (
        words[value]
        if value is None or isinstance(value, bool)
        else f"{value:.3g}"
        if isinstance(value, float)
        else f"{value}"
    )
    return f"`{text}`" if "{" in text else text


def test_reliability_page_names_existing_tests() -> None:
    text = (DOCS / "reference" / "reliability.md").read_text(encoding="utf-8")
    named = re.findall(r'`(tests/[\w/]+\.py)(?:(?: -k |::)"?([\w ]+?)"?)?`', text)
    assert len(named) > 15
    for file, picked in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        for word in filter(None, re.split(" or | and ", picked)):
            assert word in source, f"{file} -k {picked}"


def test_pages_of_the_api_list_the_public_names() -> None:
    assert set(api.PAGES) == set(api.public_names())
    assert {name for names in api.public_names().values() for name, _ in names} | {"recipes"} == set(texthead.__all__)
    assert all(f"heading: texthead.{name}\n" in api.page("data") for name, _ in api.public_names()["data"])


def test_the_texts_for_assistants_have_every_command_and_the_formats() -> None:
    text = site.assistants()
    assert [f"- `texthead {name} " in text for name in COMMANDS] == [True] * len(COMMANDS)
    assert "columns `path,label`" in text
    assert "](" not in text


@pytest.mark.nightly("docs", "mkdocs.yml")
def test_the_site_is_built_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    texts = {name: (tmp_path / "site" / name).read_text("utf-8") for name in GENERATED}
    assert all(word in texts[name] for name, word in GENERATED.items())
    assert all((tmp_path / "site" / link).is_file() for link in re.findall(r"\]\((.+?)\)", texts["llms.txt"]))
    for built in pages:
        html = built.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:link|script|img|iframe)[^>]+(?:href|src)=\"?(https?:[^\" >]+)", html)
        assert not loaded, built.name
