"""mini-clip: a dual encoder made of two networks that never saw a caption, and a small joint space.

The image side is an EfficientNet-Lite trained on ImageNet; the text side is multilingual-e5-small, which
knows English and Chinese. An embedding is two vectors side by side, so that one cosine adds two opinions:

- *concepts*: the picture's class probabilities, global and in windows, and sums of them over groups of
  classes; a sentence's softmax over how close it is to the names of the same classes and groups. Both are
  seen through one orthonormal projection. Nothing in this half is trained on pairs.
- *joint*: a perceptron over pooled features, colours and class probabilities, and one over the sentence,
  trained together on captioned pictures (InfoNCE, as in CLIP, arXiv 2103.00020).

E5's vectors fill a narrow cone, another one for each language. So the centre of a language is subtracted
first; a sentence counts as Chinese as soon as it has one Chinese token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sensorium.models.bert import Bert, BertConfig
from sensorium.models.efficientnet import EfficientNet, EfficientNetConfig

PIXEL_MEAN, PIXEL_STD = 127 / 255, 128 / 255
"""How the published EfficientNet-Lite weights want their pixels; the colour features undo it."""


@dataclass(frozen=True)
class MiniClipConfig:
    """What varies between mini-clips."""

    vision: EfficientNetConfig
    text: BertConfig
    window: int
    """Side of the windows, in cells of the feature map, whose class probabilities are averaged in."""
    groups: int
    """Groups of classes that have a name of their own: "a dog", "a beach"."""
    sharpness: float
    """Factor on the similarity of a sentence and a concept, before the softmax over concepts."""
    concept_dim: int
    joint_dim: int
    hidden: int
    joint_weight: float
    """Length of the joint half where the concept half has length one."""
    colours: int
    """Reference colours of the colour features."""
    colour_cells: int
    """Rows and columns of the grid on which colours are taken; a multiple of 12."""

    @property
    def concepts(self) -> int:
        """Classes and groups."""
        return self.vision.classes + self.groups

    @property
    def features(self) -> int:
        """Length of what the joint perceptron sees of a picture, besides its classes."""
        return self.vision.head_width + 5 * self.colours + 14


class ColourFeatures(nn.Module):
    """Which colours a picture has, where, and how varied they are.

    Each cell of a coarse grid is shared out among reference colours by a softmax over negative squared
    distances; the shares are averaged over the picture, its upper, middle and lower third, and its middle.
    """

    def __init__(self, colours: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.references = nn.Parameter(torch.rand(colours, 3))  # [colours, 3], RGB in [0, 1]

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]`` as the network takes them -> ``[b, 5 * colours + 14]``."""
        n = self.cells
        grid = F.adaptive_avg_pool2d(pixels * PIXEL_STD + PIXEL_MEAN, n).permute(0, 2, 3, 1)  # [b, n, n, 3]
        distance = (grid.unsqueeze(3) - self.references).square().sum(-1)  # [b, n, n, colours]
        share = (distance * -50.0).softmax(-1)
        thirds = share.reshape(-1, 3, n // 3, n, share.shape[3]).mean(dim=(2, 3)).flatten(1)
        middle = share[:, n // 4 : -(n // 4), n // 4 : -(n // 4)].mean(dim=(1, 2))
        shares = torch.cat([share.mean(dim=(1, 2)), thirds, middle], 1).clamp_min(1e-8).sqrt()
        saturation = grid.amax(-1) - grid.amin(-1)  # [b, n, n]
        cells = grid.flatten(1, 2)
        down = (grid[:, 1:] - grid[:, :-1]).abs().mean(dim=(1, 2))
        across = (grid[:, :, 1:] - grid[:, :, :-1]).abs().mean(dim=(1, 2))
        moments = [cells.mean(1), spread(cells), saturation.mean(dim=(1, 2)).unsqueeze(1)]
        return torch.cat([shares, *moments, spread(saturation.flatten(1).unsqueeze(2)), down, across], 1)


class JointHead(nn.Module):
    """The trained half: both sides to ``[b, joint_dim]`` of unit length."""

    def __init__(self, config: MiniClipConfig) -> None:
        super().__init__()
        c = config
        self.mean = nn.Parameter(torch.zeros(c.features), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(c.features), requires_grad=False)
        self.up = nn.Linear(c.features, c.hidden)
        self.down = nn.Linear(c.hidden, c.joint_dim)
        self.skip = nn.Linear(c.features, c.joint_dim)
        self.classes = nn.Linear(c.vision.classes, c.joint_dim)
        self.text = nn.Linear(c.text.width, c.joint_dim, bias=False)
        self.text_up = nn.Linear(c.text.width, c.hidden)
        self.text_down = nn.Linear(c.hidden, c.joint_dim)
        self.drop = nn.Dropout(0.4)

    def image(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """Features ``[b, features]`` and class probabilities ``[b, classes]`` -> ``[b, joint_dim]``."""
        x = self.drop((features - self.mean) * self.scale)
        x = self.down(self.drop(F.gelu(self.up(x)))) + self.skip(x)
        return F.normalize(x + self.classes(probabilities.clamp_min(1e-8).sqrt()), dim=-1)

    def sentence(self, text: Tensor) -> Tensor:
        """Centred sentence vectors ``[b, width]`` -> ``[b, joint_dim]``."""
        return F.normalize(self.text(text) + self.text_down(self.drop(F.gelu(self.text_up(text)))), dim=-1)


class MiniClip(nn.Module):
    """Photos and sentences, in English or Chinese, to vectors whose cosine says how well they fit."""

    def __init__(self, config: MiniClipConfig) -> None:
        super().__init__()
        c = config
        self.config = config
        self.vision = EfficientNet(c.vision)
        self.text = Bert(c.text)
        self.colour = ColourFeatures(c.colours, c.colour_cells)
        self.chinese = nn.Parameter(torch.zeros(c.text.vocabulary), requires_grad=False)  # 1: a Chinese token
        self.centres = nn.Parameter(torch.zeros(2, c.text.width), requires_grad=False)  # English, Chinese
        self.names = nn.Parameter(torch.randn(2, c.concepts, c.text.width), requires_grad=False)
        self.membership = nn.Parameter(torch.rand(c.groups, c.vision.classes), requires_grad=False)
        self.projection = nn.Parameter(torch.randn(c.concepts, c.concept_dim), requires_grad=False)
        self.joint = JointHead(config)
        self.logit_scale = nn.Parameter(torch.tensor(2.7))  # log; for fine-tuning, no part of an embedding

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels ``[b, 3, h, w]``, mean PIXEL_MEAN, spread PIXEL_STD -> ``[b, concept_dim + joint_dim]``."""
        maps = self.vision.features(pixels)
        pooled, colours, whole = self.described(maps, pixels)
        concepts = self.concepts(self.smoothed(maps, whole)) @ self.projection
        return self.joined(concepts, self.joint.image(torch.cat([pooled, colours], 1), whole))

    def described(self, maps: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the joint half is told of a picture, from its feature map and its pixels.

        Root of the pooled features ``[b, head_width]``, colours ``[b, 5 * colours + 14]``, probabilities
        ``[b, classes]``.
        """
        pooled = maps.mean(dim=(2, 3))
        return pooled.clamp_min(0).sqrt(), self.colour(pixels), self.vision.classifier(pooled).softmax(-1)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask ``[b, n]`` -> ``[b, concept_dim + joint_dim]``."""
        text = self.centred(self.text.mean(ids, mask), self.is_chinese(ids, mask))
        return self.joined(self.relevance(text) @ self.projection, self.joint.sentence(text))

    def smoothed(self, maps: Tensor, whole: Tensor) -> Tensor:
        """Class probabilities of the whole picture, averaged with the mean of those of its windows."""
        windows = F.avg_pool2d(maps, self.config.window, stride=1).flatten(2).transpose(1, 2)
        mean: Tensor = (whole + self.vision.classifier(windows).softmax(-1).mean(1)) / 2
        return mean

    def concepts(self, probabilities: Tensor) -> Tensor:
        """Class probabilities ``[b, classes]`` -> classes and groups ``[b, concepts]`` of unit length."""
        return F.normalize(torch.cat([probabilities, probabilities @ self.membership.T], -1), dim=-1)

    def is_chinese(self, ids: Tensor, mask: Tensor) -> Tensor:
        """1.0 for each sentence with a Chinese token, else 0.0: ``[b, 1]``."""
        return (self.chinese[ids] * mask).amax(dim=1, keepdim=True)

    def centred(self, sentence: Tensor, chinese: Tensor) -> Tensor:
        """E5's vectors ``[b, width]`` as directions from the centre of their language."""
        centre = self.centres[0] + chinese * (self.centres[1] - self.centres[0])
        return F.normalize(F.normalize(sentence, dim=-1) - centre, dim=-1)

    def relevance(self, text: Tensor) -> Tensor:
        """Centred sentences ``[b, width]`` -> how much each concept is meant, ``[b, concepts]``, sum one."""
        english, chinese = (text @ self.names[language].T for language in (0, 1))
        return ((F.relu(english) + F.relu(chinese)) * (self.config.sharpness / 2)).softmax(-1)

    def joined(self, concepts: Tensor, joint: Tensor) -> Tensor:
        """The two halves ``[b, concept_dim]`` and ``[b, joint_dim]`` as one vector."""
        return torch.cat([F.normalize(concepts, dim=-1), joint * self.config.joint_weight], -1)


def spread(values: Tensor) -> Tensor:
    """Standard deviation over the cells: ``[b, cells, channels] -> [b, channels]``."""
    return (values - values.mean(1, keepdim=True)).square().mean(1).clamp_min(1e-8).sqrt()
