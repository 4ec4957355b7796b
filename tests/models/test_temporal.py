"""MeanPool ignores order; the transformer starts equal to it, has the published keys and sizes, and can learn order.

Convolutions inside an encoder match an encoder written out with them.
"""

import copy
from functools import cache

import pytest
import timm
import torch
from torch import Tensor, nn
from transformers import VJEPA2Config
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2AttentivePooler

from made import SPEC, noise
from messages import refuses
from paper.temporal_conv import FrameConv, TemporalConv, TokenConv
from texthead.apps.checkpoints.temporal import JoinedFrames
from texthead.encoders.encoder import VisualEncoder, build_visual
from texthead.encoders.spec import VisualSpec
from texthead.errors import RunError
from texthead.models.recognizer import Recognizer
from texthead.models.temporal import AttentivePool, MeanPool, Temporal, TemporalTransformer, VJEPA2Pool


def moved(module: nn.Module, seed: int = 5, by: float = 0.3) -> nn.Module:
    """Move every parameter away from its initial value."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(by * noise(*parameter.shape, seed=seed + i))
    return module


def test_narrow_transformer_starts_as_mean():
    features = noise(4, 8, 96)
    for module in (TemporalTransformer(96, 2, 32, heads=2), TemporalTransformer(96, 2, 128)):
        assert torch.equal(module(features), MeanPool()(features))
        module.reset(torch.Generator().manual_seed(3))
        assert torch.equal(module(features), MeanPool()(features))
        module(features).square().sum().backward()
        assert module.project_out.weight.grad.abs().max() > 0, "it can leave its start"


def test_frames_fit_the_positions_and_heads_the_width():
    module = TemporalTransformer(64, 1)
    assert module(noise(1, 77, 64)).shape == (1, 64)
    with refuses(RunError, 78, 77):
        module(noise(1, 78, 64))
    with refuses(RunError, "width", 66, "heads", 4):
        TemporalTransformer(66, 1, heads=4)


@pytest.mark.parametrize("options", [{}, {"width": 32, "heads": 2}])
def test_reset_depends_on_the_generator_alone(options):
    fresh, used = TemporalTransformer(64, 2, **options), moved(TemporalTransformer(64, 2, **options))
    for module in (fresh, used):
        module.reset(torch.Generator().manual_seed(5))
    for (key, a), b in zip(fresh.state_dict().items(), used.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    used.reset(torch.Generator().manual_seed(6))
    assert not torch.equal(fresh.frame_position_embeddings.weight, used.frame_position_embeddings.weight)
    block = "transformer.resblocks.1.mlp.c_fc.weight"
    assert not torch.equal(fresh.state_dict()[block], used.state_dict()[block])


def test_the_start_is_the_published_one():
    state = TemporalTransformer(256, 2).state_dict()
    for key, tensor in state.items():
        if key.endswith("bias"):
            assert not tensor.any(), key
        elif ".ln_" in key:
            assert (tensor == 1).all(), key
        elif key.endswith("in_proj_weight"):
            # Xavier: uniform within sqrt(6 / (in + out)).
            bound = (6 / (256 + 768)) ** 0.5
            assert tensor.abs().max() <= bound
            assert tensor.std() == pytest.approx(bound / 3**0.5, rel=0.02)
        else:
            assert tensor.std() == pytest.approx(0.02, rel=0.02), key
            assert tensor.mean().abs() < 1e-3


@pytest.mark.parametrize(
    "module",
    [
        MeanPool(),
        JoinedFrames(),
        TemporalTransformer(64, 2),
        TemporalTransformer(64, 1, 32, heads=4, dropout=0.25),
        AttentivePool(64, 32, heads=2, max_frames=8),
        VJEPA2Pool(64, 1, heads=4),
    ],
)
def test_the_config_rebuilds_the_module(module):
    again = Temporal.from_config(module.config(), nn.Identity()).eval()
    assert type(again) is type(module)
    assert again.config() == module.config()
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(noise(2, 6, 64)), module.eval()(noise(2, 6, 64)))


# --- convolutions over frames inside the encoder

VIT = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 16},
}
RESNET = {"embed_dim": 24, "vision_cfg": {"image_size": 64, "layers": [1, 1, 2, 1], "width": 8, "patch_size": None}}


def spec(architecture: str, config: str = "{}", size: int = 32) -> VisualSpec:
    values = {**SPEC.to_json(), "architecture": architecture, "size": size}
    return VisualSpec(**{**values, "mean": SPEC.mean, "std": SPEC.std, "config": config})


SPECS = {
    "vit": spec("openclip", str(VIT).replace("'", '"').replace("True", "true")),
    "resnet": spec("openclip", str(RESNET).replace("'", '"').replace("None", "null"), 64),
    "timm vit": spec("timm:test_vit", size=160),
    "timm resnet": spec("timm:test_resnet"),
    "timm efficientnet": spec("timm:test_efficientnet"),
    "timm convnext": spec("timm:test_convnext"),
    "timm regnet": spec("timm:regnetx_002"),
}
CONVS = [(TokenConv, "vit"), (TokenConv, "timm vit")]
CONVS += [(TemporalConv, name) for name in SPECS if "vit" not in name]


@cache
def built(name: str) -> VisualEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        # Away from the initial weights, with which most networks hardly react to their input.
        visual = moved(build_visual(SPECS[name]), by=0.1)
        for frames in clips(name, 4, 4):  # fills the batch norms' statistics
            visual.train()(frames)
    return visual.eval()


def tower(name: str) -> VisualEncoder:
    return copy.deepcopy(built(name))


def clips(name: str, batch: int, frames: int, seed: int = 0) -> Tensor:
    """Return clips of coarse noise, whose frames all differ."""
    each = SPECS[name].size // 4
    return 2 * noise(batch, frames, 3, 4, 4, seed=seed).repeat_interleave(each, -1).repeat_interleave(each, -2)


def differ(a: Tensor, b: Tensor) -> bool:
    return float((a - b).norm() / a.norm()) > 1e-3


def along_frames(x: Tensor, kernel: Tensor, frames: int) -> Tensor:
    """Compute the convolution frame by frame and tap by tap."""
    shape = [1, -1] + [1] * (x.dim() - 2)
    before, here, after = (kernel[:, 0, tap].reshape(shape) for tap in range(3))
    out = []
    for clip in x.split(frames):
        for t in range(frames):
            y = here * clip[t : t + 1]
            y = y + before * clip[t - 1 : t] if t else y
            out.append(y + after * clip[t + 1 : t + 2] if t + 1 < frames else y)
    return torch.cat(out)


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 5, 4), (12, 8, 1, 1)])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_frame_conv_is_the_sum_over_its_taps(shape, frames):
    module, x = moved(FrameConv(8, "shift")), noise(*shape)
    assert torch.allclose(module(x, frames), along_frames(x, module.weight, frames), atol=1e-5)


def test_shift_moves_quarters_of_channels():
    x = noise(3, 8)
    y = FrameConv(8, "shift")(x, 3)
    assert torch.equal(y[:, :2], torch.cat([x[1:, :2], torch.zeros(1, 2)]))
    assert torch.equal(y[:, 2:4], torch.cat([torch.zeros(1, 2), x[:2, 2:4]]))
    assert torch.equal(y[:, 4:], x[:, 4:])
    assert torch.equal(FrameConv(8, "identity")(x, 3), x)


def written_out_vit(visual: VisualEncoder, kernels: list[Tensor], clips: Tensor) -> Tensor:
    """Run open_clip's ViT by hand, with a convolution of the class token before attention and before the MLP."""
    net, frames = visual.net, clips.shape[1]
    x = net.conv1(clips.flatten(0, 1)).flatten(2).transpose(1, 2)
    x = torch.cat([net.class_embedding.expand(len(x), 1, -1), x], 1) + net.positional_embedding
    x = net.ln_pre(x)
    for block, kernel in zip(net.transformer.resblocks, kernels, strict=True):
        x = torch.cat([along_frames(x[:, 0], kernel, frames)[:, None], x[:, 1:]], 1)
        y = block.ln_1(x)
        x = x + block.attn(y, y, y, need_weights=False)[0]
        x = torch.cat([along_frames(x[:, 0], kernel, frames)[:, None], x[:, 1:]], 1)
        x = x + block.mlp(block.ln_2(x))
    return (net.ln_post(x[:, 0]) @ net.proj).unflatten(0, clips.shape[:2]).mean(1)


def written_out_timm_vit(visual: VisualEncoder, kernels: list[Tensor], clips: Tensor) -> Tensor:
    net, frames = visual.net, clips.shape[1]
    x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(clips.flatten(0, 1)))))
    for block, kernel in zip(net.blocks, kernels, strict=True):
        x = torch.cat([along_frames(x[:, 0], kernel, frames)[:, None], x[:, 1:]], 1)
        x = x + block.ls1(block.attn(block.norm1(x)))
        x = torch.cat([along_frames(x[:, 0], kernel, frames)[:, None], x[:, 1:]], 1)
        x = x + block.ls2(block.mlp(block.norm2(x)))
    return net.forward_head(net.norm(x)).unflatten(0, clips.shape[:2]).mean(1)


def written_out_resnet(visual: VisualEncoder, kernels: list[Tensor], clips: Tensor) -> Tensor:
    """Run open_clip's ResNet by hand, with a frame convolution before the first layer of every res4 and res5 block."""
    net, frames = visual.net, clips.shape[1]
    kernels = list(kernels)
    x = net.layer2(net.layer1(net.stem(clips.flatten(0, 1))))
    for block in (*net.layer3, *net.layer4):
        y = block.act1(block.bn1(block.conv1(along_frames(x, kernels.pop(0), frames))))
        y = block.bn3(block.conv3(block.avgpool(block.act2(block.bn2(block.conv2(y))))))
        x = block.act3(y + (block.downsample(x) if block.downsample else x))
    assert not kernels
    return net.attnpool(x).unflatten(0, clips.shape[:2]).mean(1)


@pytest.mark.parametrize("frames", [2, 5])
@pytest.mark.parametrize(
    ("make", "name", "by_hand"),
    [
        (TokenConv, "vit", written_out_vit),
        (TokenConv, "timm vit", written_out_timm_vit),
        (TemporalConv, "resnet", written_out_resnet),
    ],
)
@torch.no_grad()
def test_encoder_matches_explicit_convolutions(make, name, by_hand, frames):
    visual = tower(name)
    temporal = moved(make(visual))
    inputs = clips(name, 2, frames)
    expected = by_hand(visual, [conv.weight for conv in temporal.convs], inputs)
    assert torch.allclose(Recognizer(visual, temporal, nn.Identity())(inputs), expected, atol=2e-5)
    assert differ(expected, visual(inputs.flatten(0, 1)).unflatten(0, (2, frames)).mean(1))


@pytest.mark.parametrize(("make", "name"), CONVS)
@torch.no_grad()
def test_identity_convolution_is_plain_encoder(make, name):
    visual, inputs = tower(name), clips(name, 2, 3)
    keys = list(visual.state_dict())
    plain = visual(inputs.flatten(0, 1)).unflatten(0, (2, 3)).mean(1)
    same = Recognizer(visual, make(visual, "identity"), nn.Identity())
    assert torch.allclose(same(inputs), plain, atol=1e-5)
    other = Recognizer(visual, make(visual), nn.Identity())
    assert differ(other(inputs), plain)
    # Two modules on one encoder do not disturb each other, nor the encoder alone.
    assert torch.allclose(same(inputs), plain, atol=1e-5)
    assert torch.equal(visual(inputs.flatten(0, 1)).unflatten(0, (2, 3)).mean(1), plain)
    assert list(visual.state_dict()) == keys
    assert [key for key in other.state_dict() if key.startswith("temporal.")] == [
        f"temporal.convs.{i}.weight" for i in range(len(other.temporal.convs))
    ]


@pytest.mark.parametrize(("make", "name"), CONVS)
@torch.no_grad()
def test_clips_independent_for_any_length(make, name):
    visual = tower(name)
    model = Recognizer(visual, moved(make(visual)), nn.Identity())
    inputs = clips(name, 3, 4)
    together = model(inputs)
    assert torch.allclose(together, torch.cat([model(clip[None]) for clip in inputs]), atol=2e-5)
    assert model(clips(name, 1, 7)).shape == together[:1].shape
    assert differ(model(inputs.flip(1)), together)


def gradients(model: Recognizer, inputs: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss = model(inputs).square().sum()
    # Another forward pass in between must not matter.
    with torch.no_grad():
        model(inputs[:1, :2] + 1)
    loss.backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_same_gradients_when_blocks_run_again(model: Recognizer, inputs: Tensor) -> None:
    plain = gradients(model, inputs)
    model.visual.net.set_grad_checkpointing(True)
    again = gradients(model, inputs)
    assert len(plain) == len(again) > len(list(model.temporal.parameters()))
    for a, b in zip(plain, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()) + 1e-7)


@pytest.mark.parametrize(("make", "name"), [case for case in CONVS if case[1] != "resnet"])
def test_gradient_checkpointing_gives_the_same_gradients(make, name):
    visual = tower(name)
    model = Recognizer(visual, moved(make(visual)), nn.Identity())
    inputs = clips(name, 2, 3)

    assert_same_gradients_when_blocks_run_again(model, inputs)
    assert any(getattr(m, "grad_checkpointing", False) for m in visual.modules())


def test_an_encoder_of_another_build_is_refused():
    with refuses(RunError, "VisionTransformer"):
        TemporalConv(tower("vit"))
    with refuses(RunError, "ModifiedResNet"):
        TokenConv(tower("resnet"))
    visual = tower("vit")
    with refuses(RunError, "TokenConv", "temporal"):  # frames have no separate features there
        Recognizer(visual, TokenConv(visual), nn.Identity()).on_features()


@pytest.mark.parametrize("name", ["volo_d1_224", "xcit_nano_12_p16_224", "pit_ti_224", "vit_base_patch16_siglip_224"])
def test_blocks_that_see_no_class_token_are_refused(name):
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=0)
        with refuses(RunError, type(net).__name__):
            TokenConv(net)


def test_an_earlier_module_does_not_disturb_a_later_one():
    visual, inputs = tower("vit"), clips("vit", 2, 3)
    Recognizer(visual, moved(TokenConv(visual)), nn.Identity())(inputs).square().sum().backward()
    assert_same_gradients_when_blocks_run_again(Recognizer(visual, MeanPool(), nn.Identity()), inputs)


def test_interrupted_pass_removes_hooks():
    visual = tower("vit")
    model = Recognizer(visual, TokenConv(visual), nn.Identity())
    handle = visual.net.transformer.resblocks[1].mlp.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(clips("vit", 1, 2))
    handle.remove()
    copy.deepcopy(model)
    assert model(clips("vit", 1, 2)).shape == (1, 24)


def test_attentive_pooling_begins_as_the_mean_and_learns_order():
    torch.manual_seed(0)
    module, features = AttentivePool(64, 32, heads=2, max_frames=8), noise(4, 6, 64)
    assert torch.equal(module(features), features.mean(1))
    torch.nn.init.normal_(module.project_out.weight)
    assert not torch.allclose(module(features), module(features.flip(1)), atol=1e-5)
    module(features).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())
    with refuses(RunError, 9, 8):
        module(noise(1, 9, 64))
    with refuses(RunError, 30, 4):
        AttentivePool(64, 30, heads=4)


@pytest.mark.parametrize("layers", [0, 3])
@torch.inference_mode()
def test_vjepa2_pooling_equals_transformers(layers: int):
    """The same weights by the same names give the same features."""
    config = VJEPA2Config(hidden_size=64, num_attention_heads=4, num_pooler_layers=layers, layer_norm_eps=1e-5)
    published, features = moved(VJEPA2AttentivePooler(config).eval(), by=0.1), noise(3, 24, 64)
    module = VJEPA2Pool(64, layers, heads=4)
    module.load_state_dict(published.state_dict())
    torch.testing.assert_close(module(features), published(features), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dim", "heads"), [(1024, 16), (1280, 16), (1408, 16), (24, 1)])  # ViT-L, -H, -g; a small one.
def test_vjepa2_pooling_has_the_heads_of_the_published_probes(dim: int, heads: int):
    with torch.device("meta"):
        assert VJEPA2Pool(dim, 1).options["heads"] == heads


def test_vjepa2_pooling_starts_with_small_outputs():
    module = VJEPA2Pool(128)
    module.reset(torch.Generator().manual_seed(0))
    stds = {name: float(weight.detach().std()) for name, weight in module.named_parameters() if weight.ndim == 2}
    outputs = [stds[f"self_attention_layers.{layer}.self_attn.out_proj.weight"] for layer in range(3)]
    assert outputs == pytest.approx([0.0141, 0.0100, 0.0082], rel=0.05)
    assert stds["cross_attention_layer.mlp.fc2.weight"] == pytest.approx(0.0082, rel=0.05)
    assert stds["self_attention_layers.2.mlp.fc1.weight"] == pytest.approx(0.02, rel=0.05)
    module(noise(2, 5, 128)).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())
    with refuses(RunError, 100, 3):
        VJEPA2Pool(100, heads=3)
