"""Quantise the weights of an ONNX model to 8 bits."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

Quantisation = Literal["dynamic", "static"]


def quantise(model: Path, out: Path, inputs: Callable[[], Iterable[dict[str, np.ndarray]]]) -> Quantisation:
    """Write a model with int8 weights, one scale per channel; return the method.

    If most weights are in matrix products, these are quantised, with the ranges of their activations taken at run time
    over the whole batch ("dynamic"). Else convolutions are, except those of `unquantised_nodes`, with ranges that
    `inputs` give ("static"): dynamic ranges slow convolutions down (EfficientNet-Lite0 ran 8 times slower, LOG.md).

    Args:
        inputs: returns inputs of the model by name, for static quantisation.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = model.with_name(f"{model.name}.data").exists()
    shared: dict[str, Any] = {"per_channel": True, "weight_type": QuantType.QInt8, "use_external_data_format": large}
    graph = onnx.load(str(model), load_external_data=False).graph
    size = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    weights = dict.fromkeys(("Conv", "MatMul", "Gemm"), 0)
    for node in graph.node:
        if node.op_type in weights:
            weights[node.op_type] += sum(size.get(name, 0) for name in node.input)
    if weights["Conv"] <= weights["MatMul"] + weights["Gemm"]:
        quantize_dynamic(str(model), str(out), op_types_to_quantize=["MatMul", "Gemm"], **shared)
        return "dynamic"
    prepared = model.with_name("prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True, save_as_external_data=large)
    batches = iter(inputs())
    quantize_static(
        str(prepared),
        str(out),
        SimpleNamespace(get_next=lambda: next(batches, None)),  # pyright: ignore[reportArgumentType]
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=unquantised_nodes(prepared),
        activation_type=QuantType.QUInt8,
        **shared,
    )
    return "static"


def unquantised_nodes(model: Path) -> list[str]:
    """Return the convolutions that static quantisation skips: the depthwise ones and the first half.

    They have few of the weights, but quantising them changes predictions: of 80 clips of flying objects, 26 changed
    with all convolutions of EfficientNet-Lite0 quantised, none without these (LOG.md).
    """
    import onnx

    convs = [node for node in onnx.load(str(model), load_external_data=False).graph.node if node.op_type == "Conv"]
    depthwise = [node for node in convs if any(a.name == "group" and a.i > 1 for a in node.attribute)]
    return sorted({node.name for node in [*convs[: len(convs) // 2], *depthwise]})
