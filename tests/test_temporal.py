"""MeanPool is blind to order; the transformer starts at it, has the published keys and sizes, and can learn order."""

import pytest
import torch
import torch.nn.functional as F

from texthead.errors import RunError
from texthead.heads import FrozenHead
from texthead.temporal import MeanPool, QuickGELU, TemporalTransformer


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def zero_outputs(module: TemporalTransformer) -> TemporalTransformer:
    """No positions, and blocks that add nothing."""
    with torch.no_grad():
        module.frame_position_embeddings.weight.zero_()
        for name, parameter in module.named_parameters():
            if ".attn.out_proj." in name or ".mlp.c_proj." in name:
                parameter.zero_()
    return module


def shaken(module: TemporalTransformer) -> TemporalTransformer:
    """Every parameter away from where it started."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.2 * noise(*parameter.shape, seed=i))
    return module


def test_mean_pool_is_the_mean_in_any_order():
    features = noise(3, 5, 8)
    pooled = MeanPool()(features)
    assert torch.allclose(pooled, features.sum(1) / 5)
    assert torch.allclose(MeanPool()(features[:, [4, 2, 0, 1, 3]]), pooled, atol=1e-6)
    assert not list(MeanPool().parameters())


def test_one_frame_is_its_own_mean():
    features = noise(3, 1, 8)
    assert torch.equal(MeanPool()(features), features[:, 0])


def test_without_positions_and_outputs_the_transformer_is_twice_the_mean():
    module = zero_outputs(TemporalTransformer(128, 3))
    features = noise(4, 6, 128)
    mean = MeanPool()(features)
    assert torch.allclose(module(features), 2 * mean, atol=1e-6)
    head = FrozenHead(noise(7, 128, seed=1), names=[f"class {i}" for i in range(7)])
    assert torch.allclose(head(module(features)), head(mean), atol=1e-4)


def test_the_positions_are_what_the_blocks_see():
    module = zero_outputs(TemporalTransformer(64, 1))
    positions = noise(77, 64, seed=1)
    with torch.no_grad():
        module.frame_position_embeddings.weight.copy_(positions)
    features = noise(2, 6, 64)
    assert torch.allclose(module(features), 2 * features.mean(1) + positions[:6].mean(0), atol=1e-6)


def test_the_narrow_transformer_starts_as_mean_pool_exactly():
    features = noise(4, 8, 96)
    for module in (TemporalTransformer(96, 2, 32, heads=2), TemporalTransformer(96, 2, 128)):
        assert torch.equal(module(features), MeanPool()(features))
        module.reset(torch.Generator().manual_seed(3))
        assert torch.equal(module(features), MeanPool()(features))


def test_the_narrow_transformer_can_leave_its_start():
    module = TemporalTransformer(96, 2, 32, heads=2)
    module(noise(4, 8, 96)).square().sum().backward()
    assert module.project_out.weight.grad.abs().max() > 0


def test_keys_are_the_published_ones():
    module = TemporalTransformer(64, 2)
    block = ["attn.in_proj_weight", "attn.in_proj_bias", "attn.out_proj.weight", "attn.out_proj.bias"]
    block += [f"{layer}.{kind}" for layer in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj") for kind in ("weight", "bias")]
    expected = {f"transformer.resblocks.{i}.{key}" for i in range(2) for key in block}
    assert set(module.state_dict()) == {"frame_position_embeddings.weight", *expected}
    assert module.state_dict()["frame_position_embeddings.weight"].shape == (77, 64)
    assert module.state_dict()["transformer.resblocks.0.mlp.c_fc.weight"].shape == (256, 64)
    assert module.state_dict()["transformer.resblocks.0.attn.in_proj_weight"].shape == (192, 64)


@pytest.mark.parametrize(
    ("dim", "heads", "millions"), [(512, 8, 18.95), (512, None, 18.95), (768, 12, 42.59), (1024, 8, 75.66)]
)
def test_sizes_are_the_published_ones(dim, heads, millions):
    with torch.device("meta"):
        module = TemporalTransformer(dim, heads=heads)
    count = sum(parameter.numel() for parameter in module.parameters())
    assert round(count / 1e6, 2) == millions
    # Positions, and a block's 12 d^2 weights and 13 d biases and norms.
    assert count == 77 * dim + 6 * (12 * dim**2 + 13 * dim)


def test_one_block_is_computed_as_written():
    module = shaken(TemporalTransformer(16, 1, heads=2))
    block = module.transformer.resblocks[0]
    features = noise(2, 5, 16)
    x = features + module.frame_position_embeddings.weight[:5]
    y = F.layer_norm(x, (16,), block.ln_1.weight, block.ln_1.bias, eps=1e-12)
    q, k, v = (y @ block.attn.in_proj_weight.T + block.attn.in_proj_bias).unflatten(-1, (3, 2, 8)).unbind(2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 8**0.5
    seen = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(2)
    x = x + seen @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    y = F.layer_norm(x, (16,), block.ln_2.weight, block.ln_2.bias, eps=1e-12)
    y = y @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    x = x + (y * torch.sigmoid(1.702 * y)) @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    assert torch.allclose(module(features), (features + x).mean(1), atol=1e-5)


def test_quick_gelu():
    x = torch.tensor([-1.0, 0.0, 2.0])
    assert torch.allclose(QuickGELU()(x), torch.tensor([-0.154208, 0.0, 1.935659]), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"width": 32, "heads": 2}])
def test_order_matters_once_the_weights_have_moved(options):
    module = shaken(TemporalTransformer(64, 2, **options))
    features = noise(2, 6, 64)
    there, back = module(features), module(features.flip(1))
    assert (there - back).abs().max() > 1e-2
    assert torch.allclose(features.mean(1), features.flip(1).mean(1), atol=1e-6)


def test_training_teaches_the_order_that_the_mean_cannot_see():
    features = noise(8, 4, 16)
    clips, labels = torch.cat([features, features.flip(1)]), torch.arange(2).repeat_interleave(8)
    module = TemporalTransformer(16, 2, 16, heads=2)
    module.reset(torch.Generator().manual_seed(0))
    head = FrozenHead(torch.eye(2, 16), names=["there", "back"], scale=20.0)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    for _ in range(60):
        loss = F.cross_entropy(head(module(clips)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(module(clips)).argmax(1) == labels).all()


def test_no_more_frames_than_positions():
    module = TemporalTransformer(64, 1)
    assert module(noise(1, 77, 64)).shape == (1, 64)
    with pytest.raises(RunError, match="78 frames > 77"):
        module(noise(1, 78, 64))


def test_heads_must_divide_the_width():
    with pytest.raises(RunError, match="width 66.*4 heads"):
        TemporalTransformer(66, 1, heads=4)


@pytest.mark.parametrize("options", [{}, {"width": 32, "heads": 2}])
def test_reset_depends_on_the_generator_alone(options):
    fresh, used = TemporalTransformer(64, 2, **options), shaken(TemporalTransformer(64, 2, **options))
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


@pytest.mark.parametrize("module", [MeanPool(), TemporalTransformer(64, 2), TemporalTransformer(64, 1, 32, heads=4)])
def test_the_config_rebuilds_the_module(module):
    options = {key: value for key, value in module.config().items() if key != "kind"}
    again = type(module)(**options)
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(noise(2, 6, 64)), module(noise(2, 6, 64)))
    assert again.config() == module.config()


def test_dropout_is_for_training_only():
    module = shaken(TemporalTransformer(64, 1, dropout=0.5))
    features = noise(2, 6, 64)
    module.eval()
    assert torch.equal(module(features), module(features))
    module.train()
    assert not torch.equal(module(features), module(features))
