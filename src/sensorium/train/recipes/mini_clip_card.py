"""The card of mini-clip: what it was made of, by whom and under which licences, and how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sensorium.train.data.captions import Captioned
from sensorium.train.data.sources import SOURCES

_HEAD = """---
license: apache-2.0
language: [en, zh]
pipeline_tag: zero-shot-image-classification
---

# mini-clip

A small dual encoder that finds photos by English and Chinese words. It ships with Sensorium, so that search
works offline the minute the package is installed. It is a starter: a public CLIP knows far more.

## How it works
The image side is EfficientNet-Lite2, the text side multilingual-e5-small with its vocabulary cut to English
and Chinese; neither is trained here. An embedding has two halves. One compares the classes of ImageNet, and
handwritten groups of them, that the picture may show with those that the sentence may mean, through their
names in both languages. The other is a perceptron on each side, trained on captioned pictures.

The text tower is stored in the 4 bits it came in, the 1x1 convolutions in 8, the rest in 16.

## Make it again
    sensorium train mini-clip
"""

_LIMITS = """
## What it does badly
Counts, text in pictures, named people and events, most landmarks, anything between objects ("a dog behind a
fence"), and every visual idea that neither ImageNet's classes nor a few hundred captioned photos cover. Its
scores order photos; they are no probabilities. Chinese means simplified Chinese. ImageNet's and the photos'
biases are its own: people appear mostly as portraits from web templates.
"""


def card(settings: Mapping[str, str], pictures: Sequence[Captioned], views: int, minutes: float) -> str:
    """The text of ``README.md``."""
    kinds = Counter(picture.kind for picture in pictures)
    counted = ", ".join(
        f"{count} {kind}s" if kind != "emoji" else f"{count} emoji" for kind, count in kinds.items()
    )
    rows = "\n".join(
        f"| {s.name}{f' {s.version}' if s.version else ''} | {s.registry} | {s.licence} | {s.gives} |"
        for s in SOURCES
    )
    used = ", ".join(f"{name} {value}" for name, value in settings.items())
    return (
        f"{_HEAD}\nThe last run took {minutes:.0f} minutes on a shared machine of two cores, sources and"
        f" features included as far as they were not there already. Settings: {used}.\n"
        f"\n## Data\n{counted}, seen in {views} views. The captions of the photos, the Chinese names of the"
        " classes and the groups of classes were written for this project, by a language model that looked at"
        " the pictures.\n\n| package | registry | licence | gives |\n| --- | --- | --- | --- |\n"
        f"{rows}\n\nThe picture files are not part of the model. Authors of single pictures are named in the"
        " copyright files of the Debian packages.\n"
        f"{_LIMITS}"
    )
