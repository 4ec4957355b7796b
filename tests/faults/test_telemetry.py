"""onnxruntime reports to nobody: it leaves no device id and no queue of events in the home folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from made import with_bridge, write_image
from texthead.apps.export import standalone


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
    """In the process itself: test_nothing_leaves.py."""
    photo = write_image(tmp_path / "photo.png", "red")
    home = tmp_path / "home"
    with_bridge(home / "texthead")
    code = (
        "import texthead as th; encoder = th.load_encoder('mini'); model = th.Recognizer(encoder.visual, th.MeanPool(), th.text_head(encoder, ['red', 'blue']))\n"
        f"th.Run.of(model).predict({str(photo)!r}, None, th.Reading(1, engine='onnxruntime'))"
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
