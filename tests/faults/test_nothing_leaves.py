"""Nothing leaves this machine, and files are written where SECURITY.md says, by any command, page or import."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from packaging.version import Version
from safetensors.torch import save_file

from made import with_bridge, write_clip_folder, write_image, write_video
from ranked import write_encoder
from texthead.apps.export import standalone
from traced import LOOPBACK, Trace, environment, strace, trace_of, traced
from worlds import images

# onnxruntime looks up the address of its telemetry nine seconds after its import.
SECONDS, MORE_SECONDS = 12, 20

# What other libraries keep in the home folder: matplotlib a list of fonts, `datasets` its copies.
CACHES = (".cache/matplotlib", ".config/matplotlib", ".cache/huggingface/datasets")

PROGRAM = """
import time
import texthead as th
print(*th.load_run({run!r}).predict({photo!r}))
import onnxruntime
time.sleep({seconds})
"""

# Each line is a command; one process runs them in this order.
COMMANDS = """
train {data}/photos --out tuned --tune all --set size=32 --set epochs=1 --workers 1
train {data}/photos --out probed --tune none
train {data}/photos --out clip --tune none --encoder hf:{data}/clip
train {data}/photos --out linear --head linear --tune all --set epochs=1 --encoder timm:test_vit/{data}/vit.safetensors
train datasets:{data}/photos --out copied --tune none
compare {data}/photos --encoder here
eval probed
report probed --out report.html
calibrate probed
predict probed {data}/photos
predict {data}/photos --classes red,blue --encoder openclip:local-dir:{data}/pair
find red {data}/photos --out hits.csv
timeline {data}/film.mp4 --classes red,blue --out events.edl
export probed --out exported
classes probed list
encoders
doctor {data}/photos --out checked
prepare {data}/photos --out shards
import {data}/checkpoint.pt --activation gelu --classes red,blue --out imported
label {data}/photos --classes red,blue --next 3
demo --out demo
"""

PROGRAM_OF_COMMANDS = """
import shlex, sys, time
from texthead.cli.main import main
for line in sys.argv[1].strip().splitlines():
    code = main(shlex.split(line))
    assert code in (0, 1), (code, line)
time.sleep({seconds})
"""

PAGES = {
    "ui": "ui {run}",
    "label": "label {data}/photos --classes red,blue --out labels.csv",
    "find": "find {data}/photos --page",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Photos, a film, and models of every library."""
    folder = tmp_path_factory.mktemp("data")
    images(folder / "photos", ["blue", "red"], 5)
    write_video(folder / "film.mp4", "red", 20)
    for name in ("clip", "pair"):
        (folder / name).mkdir()
    write_clip_folder(folder / "clip")
    write_encoder(folder / "pair")
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), folder / "vit.safetensors")
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 64, "layers": 1}
    sizes: dict[str, Any] = {"vision_cfg": vision, "text_cfg": {"width": 64, "heads": 1, "layers": 1}}
    towers = open_clip.CLIP(64, **sizes)
    torch.save({"state_dict": towers.state_dict()}, folder / "checkpoint.pt")
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, since that of a socket in it has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def outside(trace: Trace, folder: Path, *more: str) -> list[Path]:
    """Return what was written elsewhere than in the outputs, the cache, the scratch folder and the other caches."""
    return trace.outside(*(folder / name for name in ("work", "cache", "scratch", *(f"home/{each}" for each in more))))


def test_the_library_contacts_nobody(world, folder):
    program = PROGRAM.format(run=str(world.run), photo=str(world.images / "red" / "0.png"), seconds=SECONDS)
    trace = traced([sys.executable, "-c", program], folder)
    assert not trace.contacts
    assert not outside(trace, folder)


@pytest.mark.skipif(
    Version(version("onnxruntime")) < Version("1.32"), reason="onnxruntime before 1.32 has no telemetry to be seen"
)
def test_the_trace_sees_what_a_native_thread_asks_for(folder):
    """Without texthead, onnxruntime looks up an address and writes a device id."""
    trace = traced([sys.executable, "-c", f"import time, onnxruntime; time.sleep({SECONDS})"], folder)
    assert trace.contacts
    assert any("Microsoft" in path.parts for path in outside(trace, folder))


@pytest.mark.nightly("pyproject.toml", "constraints")
def test_no_command_contacts_anybody(data, folder):
    program = PROGRAM_OF_COMMANDS.format(seconds=MORE_SECONDS)
    trace = traced([sys.executable, "-c", program, COMMANDS.format(data=data)], folder)
    assert not trace.contacts
    assert not outside(trace, folder, *CACHES)


@pytest.mark.nightly("pyproject.toml", "constraints")
def test_a_cluster_of_ray_serves_this_machine_alone(world, folder):
    """Its processes talk to each other; one reads the resolver's settings without looking anything up."""
    pytest.importorskip("ray", reason="Ray is not installed")
    program = PROGRAM_OF_COMMANDS.format(seconds=MORE_SECONDS)
    command = f"bulk {world.run} {world.images} --out bulk --processes 1"
    trace = traced([sys.executable, "-c", program, command], folder)
    assert any("sa_family" in call.arguments for call in trace.contacts)
    others = [call for call in trace.contacts if "sa_family" in call.arguments and not LOOPBACK.search(call.arguments)]
    assert not others
    assert not any("htons(53)" in call.arguments for call in trace.contacts)
    assert not outside(trace, folder, *CACHES, ".ray/auth_token")


@pytest.mark.nightly("pyproject.toml", "constraints")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_listens_on_this_machine_alone(world, data, folder, page):
    words = PAGES[page].format(run=world.run, data=data).split()
    command = [*strace(folder / "calls"), sys.executable, "-m", "texthead", *words, "--port", "0"]
    own = environment(folder)
    with subprocess.Popen(command, env=own, cwd=folder / "work", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        traced_process = None
        try:
            address = next(m[0] for line in process.stdout if (m := re.search(r"http://127\.0\.0\.1:\d+\S*", line)))
            traced_process = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
            assert urllib.request.urlopen(address, timeout=60).status == 200
            time.sleep(MORE_SECONDS)
        finally:
            if traced_process:
                subprocess.run(["kill", f"-{signal.SIGINT.value}", traced_process], check=True)
            else:
                process.kill()
        assert process.wait(60) == 0
    trace = trace_of(folder / "calls", folder / "work")
    assert not trace.contacts
    assert not outside(trace, folder, *CACHES)


def run_at_home(home: Path, *command: object) -> None:
    """Run a program with an empty home folder of its own, and check that nobody but texthead wrote there."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    own = {name: value for name, value in os.environ.items() if name not in unset}
    own |= {"HOME": str(home), "TEXTHEAD_CACHE": str(home / "texthead")}
    done = subprocess.run([sys.executable, *map(str, command)], env=own, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    written = [path for path in home.rglob("*") if path.is_file() and (home / "texthead") not in path.parents]
    assert not written


def test_onnxruntime_has_no_telemetry_in_a_worker(tmp_path):
    """In the process itself: test_the_library_contacts_nobody."""
    photo = write_image(tmp_path / "photo.png", "red")
    home = tmp_path / "home"
    with_bridge(home / "texthead")
    code = (
        "import texthead as th; encoder = th.load_encoder('mini'); model = th.Recognizer(encoder.visual, th.MeanPool(), th.text_head(encoder, ['red', 'blue']))\n"
        f"th.Run.from_model(model).predict({str(photo)!r}, None, th.ReadOptions(1, engine='onnxruntime'))"
    )
    run_at_home(home, "-c", f"if __name__ == '__main__':\n {code.replace(chr(10), '; ')}")


def test_an_export_turns_telemetry_off(tmp_path):
    """Open a session as the export's `predict.py` does, without texthead."""
    shutil.copy(standalone.__file__, tmp_path / "program.py")
    home = tmp_path / "home"
    home.mkdir()
    open_session = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pathlib import Path; import onnx, program\n"
        "from onnx import TensorProto, helper\n"
        "clips = helper.make_tensor_value_info('clips', TensorProto.FLOAT, [1, 2])\n"
        "out = helper.make_tensor_value_info('out', TensorProto.FLOAT, [1, 2])\n"
        "graph = helper.make_graph([helper.make_node('Identity', ['clips'], ['out'])], 'g', [clips], [out])\n"
        "made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)\n"
        f"file = Path({str(tmp_path / 'model.onnx')!r})\n"
        "file.write_bytes(made.SerializeToString())\n"
        "program.load_model(file)\n"
        "assert 'texthead' not in sys.modules and 'onnxruntime' in sys.modules\n"
    )
    run_at_home(home, "-c", open_session)
