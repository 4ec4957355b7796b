"""`benchmarks/gpu.py` on a CPU: it runs, counts correctly, halves oversized batches, reports a missing GPU."""

import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from benchmarks import gpu
from messages import prints, refuses


def python(*words: str) -> str:
    """Run Python in the checkout, and return what it prints."""
    done = subprocess.run([sys.executable, *words], cwd=Path(gpu.__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.nightly("benchmarks/gpu.py")
def test_the_smoke_run_measures_every_row(tmp_path):
    out = python("-m", "benchmarks.gpu", "--smoke", "--out", str(tmp_path / "gpu.json"))
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved["left_out"] == []
    plain, other, own = saved["rows"]
    assert (plain["settings"], other["settings"]) == ("plain", "checkpointing, channels last")
    for row in (plain, other):
        assert row["clips_per_second"] > 0
        assert row["tflops"] == pytest.approx(row["clips_per_second"] * gpu.step_operations("tiny", 2) / 1e12)
        assert row["percent_of_matmul"] == pytest.approx(100 * row["tflops"] / saved["matmul_tflops"])
    assert plain["fed_clips_per_second"] > 0
    assert 0 <= plain["waiting"] < 100
    assert (own["loop"], own["clips_per_second"]) == ("texthead.train", None)
    assert own["fed_clips_per_second"] > 0
    assert all(row["memory"] > 0 for row in saved["rows"])
    table = [line for line in out.splitlines() if line.startswith("| tiny |")]
    assert table == [gpu.line(row) for row in saved["rows"]]
    assert gpu.published_table() in out
    assert [row["engine"] for row in saved["frozen"]] == ["eager", "bf16"]
    assert all(row["frames_per_second"] > 0 for row in saved["frozen"])
    assert saved["frozen"][0]["one_minus_cosine"] < 1e-6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    prints(err, "CUDA", torch.__version__, "--smoke")


@pytest.mark.nightly("benchmarks/gpu.py")
def test_nothing_but_torch_and_its_like_is_needed():
    """Without the modules missing on a bare GPU machine, everything but texthead's own loop is measured."""
    missing = ("texthead", "jaxtyping", "av", "rich", "transformers", "sklearn")
    code = f"import sys; sys.argv = ['gpu', '--smoke']; sys.modules |= dict.fromkeys({missing})"
    out = python("-c", f"{code}; from benchmarks import gpu; sys.exit(gpu.main())")
    assert out.count("\n| tiny |") == 2
    assert "tiny, texthead.train: ModuleNotFoundError" in out


@pytest.mark.parametrize(("name", "multiply_adds"), [("ViT-B-32", 4.41), ("ViT-B-16", 17.56), ("ViT-L-14", 81.01)])
def test_operation_count_near_encoder(name, multiply_adds):
    """A step takes 3 x 2 operations per forward multiply-add; docs/reference/recipes.md lists those per frame."""
    dim = open_clip.get_model_config(name)["embed_dim"]
    blocks = 6 * 12 * dim**2  # 4 d^2 in attention, 8 d^2 in the MLP; mixing 8 frames is negligible
    assert gpu.step_operations(name, 8) == pytest.approx(6 * 8 * (multiply_adds * 1e9 + blocks), rel=2e-3)


@pytest.mark.nightly("benchmarks/gpu.py")
def test_a_batch_that_does_not_fit_is_halved():
    tried = []

    def run(row: gpu.Row) -> gpu.Measured:
        tried.append(row.batch)
        if row.batch > 3:
            raise torch.cuda.OutOfMemoryError("too large")
        return gpu.Measured(row)

    assert gpu.that_fits(run, gpu.Row("tiny", 12), torch.device("cpu")).row == gpu.Row("tiny", 3)
    assert tried == [12, 6, 3]
    with refuses(RuntimeError, "one clip"):
        gpu.that_fits(lambda row: run(gpu.Row("tiny", 4)), gpu.Row("tiny", 8), torch.device("cpu"))


@pytest.mark.nightly("benchmarks/gpu.py")
def test_deadline_and_failed_rows(tmp_path):
    setting = gpu.Setting(torch.device("cpu"), (), workers=0, seconds=0.0, least=1, frames=1)
    rows = (gpu.Row("no-such-model", 1), gpu.Row("tiny", 1))
    wrong, right, _ = gpu.run_rows(rows, setting, until=float("inf"))
    assert isinstance(wrong, str)
    assert wrong.startswith("no-such-model, plain: ")
    assert isinstance(right, gpu.Measured)
    late = [str(line).partition(": ")[0] for line in gpu.run_rows(rows, setting, until=float("-inf"))]
    assert late == ["no-such-model, plain", "tiny, plain", "no-such-model, texthead.train"]


@pytest.mark.nightly("benchmarks/gpu.py")
def test_a_compiled_block_serves_all_blocks():
    """With `compiled`, dynamo traces one graph for all blocks, and the loss is the same."""
    device = torch.device("cpu")
    clips, targets = torch.randint(0, 256, (2, 2, 32, 32, 3), dtype=torch.uint8), torch.tensor([0, 1])
    plain = gpu.make_step(gpu.Row("tiny", 2), device)(clips, targets)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = gpu.make_step(gpu.Row("tiny", 2, compiled=True), device)(clips, targets)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert compiled.item() == pytest.approx(plain.item(), rel=0.01)


def test_clips_are_whole_and_the_same_each_time(tmp_path):
    folders = gpu.draw_clips(tmp_path, 2, processes=1)
    with Image.open(folders[1] / "img_00032.jpg") as frame:
        assert frame.size == (gpu.WIDTH, gpu.HEIGHT)
    assert [len(list(folder.iterdir())) for folder in folders] == [gpu.STORED, gpu.STORED]
    clips = gpu.Clips(folders, frames=4, size=48)
    for position in range(20):
        clip, label = clips[position]
        assert (clip.shape, clip.dtype, label) == ((4, 48, 48, 3), torch.uint8, position)
        assert torch.equal(clip, clips[position][0])
        assert clip.float().std() > 5


def test_workers_are_as_many_as_shared_memory_takes(tmp_path, capsys):
    assert gpu.workers_that_fit(4, 1, tmp_path) == 4
    assert gpu.workers_that_fit(4, 2**60, tmp_path) == 0
    prints(capsys.readouterr().err, tmp_path, 0, 4)
    assert gpu.workers_that_fit(4, 2**60, tmp_path / "missing") == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_row_on_the_gpu(tmp_path):
    device = gpu.card(smoke=False)
    setting = gpu.Setting(device, gpu.draw_clips(tmp_path, 2, 1), workers=1, seconds=0.5, least=3)
    row = gpu.measure(gpu.Row("ViT-B-32", 4, fed=True), setting)
    assert None not in (row.clips_per_second, row.fed_clips_per_second)
    assert row.waiting is not None
    assert 0 <= row.waiting < 100
