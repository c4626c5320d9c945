"""Build a network and fill it from a checkpoint, strictly.

The network is made on the meta device (no memory, no initialisation), the tensors are read one by one and
become its parameters without a copy. No network here keeps computed buffers, and a tensor that is used twice
(a tied head) is one parameter, so every key of the network must come from the file.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sensorium.errors import CheckpointError
from sensorium.models.blip2 import Blip2, Blip2Matcher
from sensorium.models.clip import Clip
from sensorium.models.decoder import Decoder
from sensorium.models.llava import Llava
from sensorium.models.mini_clip import MiniClip
from sensorium.models.mini_vlm import MiniVlm
from sensorium.models.qwen_vl.qwen_vl import QwenVl
from sensorium.models.sam.sam import Sam
from sensorium.models.vit import VitClassifier
from sensorium.weights.maps import (
    blip2,
    chinese_clip,
    clip,
    decoder,
    llava,
    mini_clip,
    mini_vlm,
    qwen_vl,
    sam,
    siglip,
    vit,
)
from sensorium.weights.rules import Rule, renamed

if TYPE_CHECKING:
    from sensorium.weights.files import ModelFiles


@dataclass(frozen=True)
class Family:
    """How one kind of checkpoint becomes a network, and goes back."""

    read_config: Callable[[Mapping[str, Any]], Any]  # raw config.json -> our frozen config
    network: Callable[[Any], nn.Module]  # config -> module; the module keeps it as `.config`
    rules: list[Rule]
    write_config: Callable[[Any], dict[str, Any]]  # our config -> config.json in the hub's words
    sized_rules: Callable[[Any], list[Rule]] | None = None  # config -> a layout's rules that need its sizes
    prepared: Callable[[Iterable[tuple[str, Tensor]]], Iterable[tuple[str, Tensor]]] = iter
    """What is done to a file's tensors before the rules, where several become one."""

    def rules_for(self, config: Any) -> list[Rule]:
        """Every rule by which a file of some layout fills a network of this config."""
        return self.rules if self.sized_rules is None else [*self.rules, *self.sized_rules(config)]


FAMILIES: dict[str, Family] = {
    "clip": Family(clip.read_config, Clip, clip.RULES, clip.write_config),
    "siglip": Family(siglip.read_config, Clip, siglip.RULES, siglip.write_config),
    "chinese_clip": Family(chinese_clip.read_config, Clip, chinese_clip.RULES, chinese_clip.write_config),
    "mini_clip": Family(mini_clip.read_config, MiniClip, mini_clip.RULES, mini_clip.write_config),
    "sam": Family(sam.read_config, Sam, sam.RULES, sam.write_config),
    "sam_original": Family(sam.read_original_config, Sam, sam.ORIGINAL_RULES, sam.write_original_config),
    "llama": Family(decoder.read_config, Decoder, decoder.RULES, decoder.write_llama, decoder.meta_rules),
    "qwen2": Family(decoder.read_config, Decoder, decoder.RULES, decoder.write_qwen2),
    "opt": Family(decoder.read_config, Decoder, decoder.OPT_RULES, decoder.write_opt),
    "blip2": Family(
        blip2.read_config, Blip2, [], blip2.write_config, blip2.rules_for, blip2.with_whole_biases
    ),
    "blip2_matcher": Family(
        blip2.read_matcher_config,
        Blip2Matcher,
        blip2.MATCHER_RULES,
        blip2.write_matcher_config,
        prepared=blip2.with_whole_biases,
    ),
    "llava": Family(llava.read_config, Llava, llava.RULES, llava.write_config),
    "mini_vlm": Family(mini_vlm.read_config, MiniVlm, mini_vlm.RULES, mini_vlm.write_config),
    "qwen_vl": Family(qwen_vl.read_config, QwenVl, qwen_vl.RULES, qwen_vl.write_config),
    "vit": Family(vit.read_config, VitClassifier, vit.RULES, vit.write_config),
}

# All that torch.load was seen to raise on refused or damaged pickles: the restricted unpickler checks little.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


def build(files: ModelFiles, *, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The network of a model on this machine, in evaluation mode, on the CPU.

    Raises CheckpointError when the files do not fit it.
    """
    kind = FAMILIES[files.family]
    try:
        config = _config(files, kind)
        network = empty(kind, config)
        fill(network, kind.prepared(read_tensors(files.weights)), kind.rules_for(config), dtype=dtype)
    except CheckpointError as error:
        raise CheckpointError(f"{files.folder}: {error}") from None
    return network.eval()


def _config(files: ModelFiles, kind: Family) -> Any:
    if files.family == "sam_original" and "vision" not in files.config:  # a lone file of the authors'
        return sam.config_of({key: tuple(tensor.shape) for key, tensor in read_tensors(files.weights)})
    return kind.read_config(files.config)


def empty(family: Family, config: Any) -> nn.Module:
    """The network on the meta device: names and shapes without memory."""
    with torch.device("meta"), _Uninitialised():
        return family.network(config)


# Tensor methods, and the functions of nn.init that hand themselves to a mode before they call those.
_RANDOM = (
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
)


class _Uninitialised(TorchFunctionMode):
    """Leaves out random initialisation, which on the meta device does nothing but import sympy (4 s)."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if function in _RANDOM:
            return named["tensor"] if "tensor" in named else args[0]
        return function(*args, **named)


def fill(
    network: nn.Module,
    tensors: Iterable[tuple[str, Tensor]],
    rules: list[Rule],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Give a network its tensors: each source key used, each of its own filled once, all shapes equal.

    Raises CheckpointError naming what is at fault; the network is then unchanged.
    """
    expected = {key: tensor.shape for key, tensor in network.state_dict().items()}
    network.load_state_dict(renamed(tensors, rules, expected, dtype=dtype), strict=True, assign=True)


def read_tensors(paths: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Every (key, tensor) of some weight files, one at a time (a pickled shard is read whole)."""
    for path in paths:
        yield from (_read_safetensors if path.suffix == ".safetensors" else _read_pickle)(path)


def _read_safetensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  # not a dict
                yield key, file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error}); pull the model again") from None


def _read_pickle(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNPICKLING_ERRORS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path.name} cannot be read as plain weights ({reason})") from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None  # cn_clip nests it
    if not isinstance(state, dict):
        raise CheckpointError(f"{path.name} holds no table of weights")
    for key in list(state):
        value = state.pop(key)
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path.name}: {key} is not a tensor")
        yield key, value
