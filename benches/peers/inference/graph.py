"""Writes all-MiniLM-L6-v2 as ONNX Runtime likes it best: its fused operators, from the safetensors alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

FUSED = "com.microsoft"


def write(model: Path, graph: Path) -> None:
    """Reads the folder `model`, writes the file `graph`: three int32 inputs `[batch, tokens]`, one output `[batch, tokens, width]`."""
    config = json.loads((model / "config.json").read_text())
    weights = {name.removeprefix("bert."): tensor for name, tensor in load_file(model / "model.safetensors").items()}
    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def node(operator: str, inputs: list[str], outputs: list[str], domain: str = FUSED, **settings: float) -> None:
        nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **settings))

    def transposed(name: str, source: str) -> str:
        return constant(name, weights[source].T)

    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]
    names = ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")
    tables = [constant(name, weights[f"embeddings.{name}"]) for name in names]
    node("EmbedLayerNormalization", ["input_ids", "token_type_ids", *tables, "attention_mask"], ["x0", "mask"], epsilon=epsilon)
    for at in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{at}."
        three = [f"{layer}attention.self.{part}" for part in ("query", "key", "value")]
        qkv = constant(f"qkv{at}", np.concatenate([weights[f"{part}.weight"].T for part in three], 1))
        qkv_bias = constant(f"qkv_bias{at}", np.concatenate([weights[f"{part}.bias"] for part in three]))
        node("Attention", [f"x{at}", qkv, qkv_bias, "mask"], [f"a{at}"], num_heads=heads)
        for result, source, before, after in (("y", "attention.output", "a", "x"), ("x", "output", "g", "y")):
            if result == "x":
                node("MatMul", [f"y{at}", transposed(f"up{at}", f"{layer}intermediate.dense.weight")], [f"i{at}"], "")
                node("BiasGelu", [f"i{at}", constant(f"up_bias{at}", weights[f"{layer}intermediate.dense.bias"])], [f"g{at}"])
            node("MatMul", [f"{before}{at}", transposed(f"{source}{at}", f"{layer}{source}.dense.weight")], [f"m{result}{at}"], "")
            norm = [constant(f"{source}.{part}{at}", weights[f"{layer}{source}.{part}"]) for part in ("LayerNorm.weight", "LayerNorm.bias", "dense.bias")]
            out = f"y{at}" if result == "y" else f"x{at + 1}"
            node("SkipLayerNormalization", [f"m{result}{at}", f"{after}{at}", *norm], [out], epsilon=epsilon)
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", "tokens"]) for name in ("input_ids", "token_type_ids", "attention_mask")]
    last = helper.make_tensor_value_info(f"x{config['num_hidden_layers']}", TensorProto.FLOAT, ["batch", "tokens", config["hidden_size"]])
    made = helper.make_graph(nodes, "minilm", inputs, [last], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)]
    built = helper.make_model(made, opset_imports=opsets)
    built.ir_version = 9
    onnx.save(built, graph)
