"""A causal decoder as OpenVINO graphs: one that reads tokens, keys and values its state, and one for the
head.

They are put together operation by operation, not traced: weights are in their packed form from the start, and
the shapes around attention are those that OpenVINO fuses with its cache of keys and values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sensorium.models.decoder import Decoder, DecoderBlock
from sensorium.nn.mlp import GatedMlp, Mlp
from sensorium.nn.norms import RMSNorm
from sensorium.nn.rotary import RotaryConfig
from sensorium.runtime import machine
from sensorium.runtime.packing import GROUP, pack

BITS = {"w4": 4, "w8": 8, "float32": 32}
_END = np.iinfo(np.int32).max


def body(decoder: Decoder, weights: str) -> Any:
    """All blocks and the last norm.

    Inputs by name: ``embeds`` ``[b, n, width]`` (projected, learned positions added), ``mask``
    ``[b, 1, n, total]`` float32 (0 where a token is seen, very negative elsewhere), ``rows`` ``[b]`` int32
    (which row of the state each row goes on with), ``last`` ``[1]`` int64, and for rotary positions
    ``cosines`` and ``sines`` ``[b, n, head_dim]``. Output: hidden states ``[b, last, width]``. State: ``k0``,
    ``v0``, ``k1`` ... ``[b, kv_heads, total, head_dim]``.
    """
    return _Builder(decoder, weights).model()


def head(decoder: Decoder, weights: str) -> Any:
    """Hidden states ``[b, n, word_width]`` to the scores of every token ``[b, n, vocabulary]``."""
    openvino, op = _opset()
    hidden = _input("hidden", [-1, -1, decoder.config.word_width], "f32")
    table = decoder.embedding.weight if decoder.head is None else decoder.head.weight
    scores = op.matmul(hidden, _matrix(table, BITS[weights]), False, True)
    return openvino.Model([op.result(scores)], [hidden], "head")


def _opset() -> tuple[Any, Any]:
    openvino = machine.openvino()
    return openvino, openvino.opset13


def _input(name: str, shape: list[int], kind: str) -> Any:
    openvino, op = _opset()
    parameter = op.parameter(openvino.PartialShape(shape), getattr(openvino.Type, kind), name=name)
    parameter.output(0).set_names({name})
    return parameter


def _numbers(*values: int) -> Any:
    return _opset()[1].constant(np.array(values, np.int64))


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _scalar(value: float) -> Any:
    return _opset()[1].constant(np.array(value, np.float32))


def _matrix(tensor: Tensor, bits: int) -> Any:
    """A weight as a constant, or as packed codes and what makes numbers of them where it is used."""
    openvino, op = _opset()
    weight = _array(tensor)
    if bits == 32:
        return op.constant(weight)
    if bits == 8:  # fine enough for one scale a row
        packed = pack(weight, bits=8, group=weight.shape[1])
        codes = op.convert(op.constant(packed.codes[:, 0]), "f16")
        return op.convert(op.multiply(codes, op.constant(packed.scales[:, 0])), "f32")
    packed = pack(weight, bits=4, group=GROUP)
    halves = openvino.Tensor(packed.nibbles(), openvino.Shape(list(packed.codes.shape)), openvino.Type.i4)
    codes = op.convert(op.constant(halves, shared_memory=False), "f16")
    scaled = op.multiply(codes, op.constant(packed.scales))
    return op.convert(op.reshape(scaled, _numbers(*weight.shape), False), "f32")


class _Builder:
    """One graph under construction."""

    def __init__(self, decoder: Decoder, weights: str) -> None:
        self.decoder, self.config, self.bits = decoder, decoder.config, BITS[weights]
        self.openvino, self.op = _opset()
        c = self.config
        self.embeds = _input("embeds", [-1, -1, c.width], "f32")
        self.mask = _input("mask", [-1, 1, -1, -1], "f32")
        self.rows = _input("rows", [-1], "i32")
        self.last = _input("last", [1], "i64")
        self.inputs = [self.embeds, self.mask, self.rows, self.last]
        self.turns: list[Any] = []
        if isinstance(c.positions, RotaryConfig):
            angles = [_input(name, [-1, -1, c.head_dim], "f32") for name in ("cosines", "sines")]
            self.inputs += angles
            self.turns = [self.op.unsqueeze(angle, _numbers(1)) for angle in angles]
        self.batch = self.op.gather(self.op.shape_of(self.embeds, "i64"), _numbers(0), _numbers(0))
        self.variables: list[Any] = []
        self.written: list[Any] = []

    def model(self) -> Any:
        """The whole graph, as `body` describes it."""
        x: Any = self.embeds
        for index, block in enumerate(self.decoder.blocks):
            assert isinstance(block, DecoderBlock)
            x = self._block(x, block, index)
        if self.decoder.norm is not None:
            x = self._norm(x, self.decoder.norm)
        result = [self.op.result(x)]
        return self.openvino.Model(result, self.written, self.inputs, self.variables, "decoder")

    def _block(self, x: Any, block: DecoderBlock, index: int) -> Any:
        op, first = self.op, self.config.norm_first
        read = self._attention(self._norm(x, block.norm1) if first else x, block, index)
        if index == self.config.depth - 1:
            x, read = self._latest(x), self._latest(read)
        x = op.add(x, self._linear(read, block.attention.out))
        if first:
            return op.add(x, self._mlp(self._norm(x, block.norm2), block.mlp))
        x = self._norm(x, block.norm1)
        return self._norm(op.add(x, self._mlp(x, block.mlp)), block.norm2)

    def _attention(self, x: Any, block: DecoderBlock, index: int) -> Any:
        op, c, attention = self.op, self.config, block.attention
        heads = self._heads(self._linear(x, attention.q, attention.k, attention.v), c.heads + 2 * c.kv_heads)
        q, k, v = self._parts(heads, 1, c.heads, c.kv_heads, c.kv_heads)
        keys = self._remembered(self._turned(k), f"k{index}")
        values = self._remembered(v, f"v{index}")
        read = op.scaled_dot_product_attention(self._turned(q), keys, values, self.mask)
        return op.reshape(
            op.transpose(read, _numbers(0, 2, 1, 3)), _numbers(0, 0, c.heads * c.head_dim), True
        )

    def _heads(self, x: Any, heads: int) -> Any:
        split = self.op.reshape(x, _numbers(0, 0, heads, self.config.head_dim), True)
        return self.op.transpose(split, _numbers(0, 2, 1, 3))

    def _turned(self, x: Any) -> Any:
        """As `nn.rotary.rotate`."""
        if not self.turns:
            return x
        op, half = self.op, self.config.head_dim // 2
        ends = ((0, half), (half, _END))
        first, second = (op.slice(x, _numbers(a), _numbers(b), _numbers(1), _numbers(3)) for a, b in ends)
        minus = op.constant(np.full((1, 1, 1, 1), -1, np.float32))
        across = op.concat([op.multiply(second, minus), first], 3)
        cosines, sines = self.turns
        return op.add(op.multiply(x, cosines), op.multiply(across, sines))

    def _remembered(self, x: Any, name: str) -> Any:
        """Keys or values of all tokens, shared by the queries' heads of a group."""
        op, c = self.op, self.config
        info = self.openvino.op.util.VariableInfo()
        info.data_shape = self.openvino.PartialShape([-1, c.kv_heads, -1, c.head_dim])
        info.data_type, info.variable_id = self.openvino.Type.f32, name
        variable = self.openvino.op.util.Variable(info)
        shape = op.concat([self.batch, _numbers(c.kv_heads), _numbers(0), _numbers(c.head_dim)], 0)
        before = op.read_value(op.broadcast(_scalar(0.0), shape), variable)
        kept = op.gather(before, self.rows, op.constant(np.array(0, np.int64)))
        total = op.concat([kept, x], 2)
        self.variables.append(variable)
        self.written.append(op.assign(total, variable))
        if c.heads == c.kv_heads:
            return total
        times = _numbers(1, 1, c.heads // c.kv_heads, 1, 1)
        repeated = op.broadcast(op.unsqueeze(total, _numbers(2)), times, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(repeated, _numbers(0, c.heads, -1, c.head_dim), True)

    def _latest(self, x: Any) -> Any:
        start = self.op.multiply(self.last, _numbers(-1))
        return self.op.slice(x, start, _numbers(_END), _numbers(1), _numbers(1))

    def _linear(self, x: Any, *layers: nn.Linear) -> Any:
        """Layers that read the same are one product: at one token each has its own cost."""
        weight = torch.cat([layer.weight for layer in layers])
        out = self.op.matmul(x, _matrix(weight, self.bits), False, True)
        biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
        return self.op.add(out, self._row(torch.cat(biases))) if biases else out

    def _parts(self, x: Any, axis: int, *sizes: int) -> list[Any]:
        split = self.op.variadic_split(x, self.op.constant(np.array(axis, np.int64)), _numbers(*sizes))
        return [split.output(index) for index in range(len(sizes))]

    def _row(self, values: Tensor) -> Any:
        return self.op.constant(_array(values).reshape(1, 1, -1))

    def _norm(self, x: Any, norm: nn.Module) -> Any:
        op = self.op
        if isinstance(norm, RMSNorm):
            mean = op.reduce_mean(op.power(x, _scalar(2.0)), _numbers(-1), True)
            size = op.sqrt(op.add(mean, _scalar(norm.eps)))
            return op.multiply(op.multiply(x, op.divide(_scalar(1.0), size)), self._row(norm.weight))
        assert isinstance(norm, nn.LayerNorm)
        normed = op.mvn(x, _numbers(-1), True, norm.eps, "inside_sqrt")
        return op.add(op.multiply(normed, self._row(norm.weight)), self._row(norm.bias))

    def _mlp(self, x: Any, mlp: nn.Module) -> Any:
        if isinstance(mlp, GatedMlp):
            width = mlp.up.out_features
            gate, up = self._parts(self._linear(x, mlp.gate, mlp.up), 2, width, width)
            return self._linear(self.op.multiply(self.op.swish(gate), up), mlp.down)
        assert isinstance(mlp, Mlp)
        return self._linear(self._activate(self._linear(x, mlp.up), mlp.activation), mlp.down)

    def _activate(self, x: Any, activation: str) -> Any:
        op = self.op
        if activation == "relu":
            return op.relu(x)
        if activation == "quick_gelu":
            return op.multiply(x, op.sigmoid(op.multiply(x, _scalar(1.702))))
        return op.gelu(x, "tanh" if activation == "gelu_tanh" else "erf")
