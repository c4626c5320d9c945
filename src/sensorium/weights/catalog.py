"""The public checkpoints that Sensorium knows: where each comes from, pinned, and what it is good for.

A revision is a commit of the repository, so its files can never change under it. Every revision and
every SHA-256 below was found in public projects that pin the same checkpoint; a hash that was not found
is left out, and then the hub's own declaration for that commit is what a pull is checked against.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sensorium.media.image import ImageSpec

USUAL_FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json")
"""What a model that is not in the catalog is expected to consist of."""

_CLIP_VOCABULARY = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)
_SAM_IMAGE = ImageSpec(1024, 1024, "longest", 1024, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Entry:
    """One checkpoint of the catalog."""

    name: str
    """Its repository on the hub, or the name of the embedded model."""
    revision: str | None
    """The commit that a pull takes. None: the newest at the first pull, then recorded beside the files."""
    licence: str
    """SPDX identifier, and where it is stated when the hub does not say."""
    good_for: str
    languages: tuple[str, ...]
    """Languages of the queries, ISO 639-1; empty for models that read no text."""
    megabytes: int
    """Size of the download."""
    weights: str = "model.safetensors"
    """The weight file that ``revision`` has."""
    support: tuple[str, ...] = ("config.json", "preprocessor_config.json", *_CLIP_VOCABULARY)
    """The other files that are needed."""
    sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    image: ImageSpec | None = None
    """The preparation that its files are known to declare; None where they alone say."""
    embedded: bool = False
    """Whether it ships inside the package and needs no pull."""
    onnx: bool = False
    """Whether ``weights`` is a whole network that is run as it is, without a ``config.json``."""
    answers: bool = False
    """Whether it answers questions about pictures; its languages are those of the questions."""
    lone: bool = False
    """Whether ``weights`` is a file of its authors' without a ``config.json``: its tensors say what it is."""

    @property
    def bare(self) -> bool:
        """Whether it comes without a ``config.json``."""
        return self.onnx or self.lone

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every file that makes the checkpoint whole."""
        return (*self.support, self.weights)


def _clip(side: int) -> ImageSpec:
    return ImageSpec(side, side, "crop", side, "bicubic", _CLIP_MEAN, _CLIP_STD)


def _sam(size: str, revision: str, megabytes: int, good_for: str) -> Entry:
    """A Segment Anything as transformers lays it out on the hub."""
    return Entry(
        name=f"facebook/sam-vit-{size}",
        revision=revision,
        licence="Apache-2.0",
        good_for=good_for,
        languages=(),
        megabytes=megabytes,
        support=("config.json", "preprocessor_config.json"),
        image=_SAM_IMAGE,
    )


def _qwen(size: str, revision: str, licence: str, megabytes: int, good_for: str) -> Entry:
    """A Qwen2.5-VL that follows instructions."""
    return Entry(
        name=f"Qwen/Qwen2.5-VL-{size}-Instruct",
        revision=revision,
        licence=licence,
        good_for=good_for,
        languages=("en", "zh"),
        megabytes=megabytes,
        weights="model.safetensors.index.json",
        support=(
            "config.json",
            "generation_config.json",
            "preprocessor_config.json",
            "chat_template.json",
            *_CLIP_VOCABULARY,
        ),
        answers=True,
    )


_OPENAI = "MIT (stated in the repository openai/CLIP)"

_OPENAI_32 = MappingProxyType(
    {
        "config.json": "b575ef3c36f2a057fa19e221650105052d61cc9c1a972ec15019c6261ec98770",
        "preprocessor_config.json": "910e70b3956ac9879ebc90b22fb3bc8a75b6a0677814500101a4c072bd7857bd",
        "tokenizer_config.json": "34b7336e4bee12e0a9730eaf5189f582ef3c3eea5027f65730e5717256755aad",
        "vocab.json": "5047b556ce86ccaf6aa22b3ffccfc52d391ea4accdab9c2f2407da5b742d4363",
        "merges.txt": "f526393189112391ce6f9795d4695f704121ce452c3aad1f5335cc41337eba85",
        "pytorch_model.bin": "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
    }
)
_OPENAI_L14 = MappingProxyType(
    {
        "config.json": "8a09b467700c58138c29d53c605b34ebc69beaadd13274a8a2af8ad2c2f4032a",
        "preprocessor_config.json": "910e70b3956ac9879ebc90b22fb3bc8a75b6a0677814500101a4c072bd7857bd",
        "tokenizer.json": "a83e0809aa4c3af7208b2df632a7a69668c6d48775b3c3fe4e1b1199d1f8b8f4",
        "tokenizer_config.json": "deef455e52fa5e8151e339add0582e4235f066009601360999d3a9cda83b1129",
        "vocab.json": "3f0c4f7d2086b61b38487075278ea9ed04edb53a03cbb045b86c27190fa8fb69",
        "merges.txt": "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a",
        "model.safetensors": "a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    }
)
# These two also have a model.safetensors with the hub's names, which a pull prefers and the hub vouches for.
_LAION_B32 = MappingProxyType(
    {"open_clip_model.safetensors": "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"}
)
_LAION_H14 = MappingProxyType(
    {"open_clip_model.safetensors": "0084e75319a50ad85ef45377bad5bc38f2f58824459eb690048d51c9f8863be5"}
)
_CHINESE = MappingProxyType(
    {
        "config.json": "97850313ab34f4fdeed3a7886b4db8b209a842a48d1cbda079abd071d12c7a2f",
        "preprocessor_config.json": "0e00af244b402c34f92898e2ba68359762ad3788e087b2a0e4d575512f388ea9",
        "vocab.txt": "45bbac6b341c319adc98a532532882e91a9cefc0329aa57bac9ae761c27b291c",
        "pytorch_model.bin": "7b7b583c210c867410bc6bdb8a55fe14eec62999e0a9ea31ff222dc501f9cfbe",
    }
)

ENTRIES: tuple[Entry, ...] = (
    Entry(
        name="sensorium/mini-clip",
        revision=None,
        licence="Apache-2.0, of data with licences of their own: see its card",
        good_for="searching photos offline the minute the package is installed; a starter",
        languages=("en", "zh"),
        megabytes=35,
        weights="model.safetensors.index.json",
        support=("config.json", "preprocessor_config.json", "tokenizer.json"),
        embedded=True,
    ),
    Entry(
        name="sensorium/mini-sam",
        revision=None,
        licence="Apache-2.0, of data with licences of their own: see its card",
        good_for="cutting things out the minute the package is installed; a starter",
        languages=(),
        megabytes=11,
        support=("config.json", "preprocessor_config.json"),
        embedded=True,
    ),
    Entry(
        name="sensorium/mini-vlm",
        revision=None,
        licence="Apache-2.0, of data with licences of their own: see its card",
        good_for="answering simple questions about pictures the minute the package is installed; a starter",
        languages=("en", "zh"),
        megabytes=22,
        support=(
            "config.json",
            "generation_config.json",
            "preprocessor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ),
        answers=True,
        embedded=True,
    ),
    Entry(
        name="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        licence=_OPENAI,
        good_for="fast search of large libraries on a CPU",
        languages=("en",),
        megabytes=609,
        weights="pytorch_model.bin",
        sha256=_OPENAI_32,
        image=_clip(224),
    ),
    Entry(
        name="openai/clip-vit-base-patch16",
        revision="57c216476eefef5ab752ec549e440a49ae4ae5f3",
        licence=_OPENAI,
        good_for="finer detail than patch32 at four times its cost",
        languages=("en",),
        megabytes=602,
        weights="pytorch_model.bin",
        image=_clip(224),
    ),
    Entry(
        name="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        licence=_OPENAI,
        good_for="the best of OpenAI's at 224 pixels; also the tower of many other models",
        languages=("en",),
        megabytes=1714,
        sha256=_OPENAI_L14,
        image=_clip(224),
    ),
    Entry(
        name="openai/clip-vit-large-patch14-336",
        revision="ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
        licence=_OPENAI,
        good_for="small things in large pictures; the tower of LLaVA",
        languages=("en",),
        megabytes=1715,
        weights="pytorch_model.bin",
        image=_clip(336),
    ),
    Entry(
        name="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        licence="MIT",
        good_for="better search than OpenAI's B/32 at the same cost",
        languages=("en",),
        megabytes=609,
        sha256=_LAION_B32,
        image=_clip(224),
    ),
    Entry(
        name="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        licence="MIT",
        good_for="the strongest English search here; wants a GPU or patience",
        languages=("en",),
        megabytes=3948,
        sha256=_LAION_H14,
        image=_clip(224),
    ),
    Entry(
        name="google/siglip2-base-patch16-224",
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        licence="Apache-2.0",
        good_for="queries in many languages, English and Chinese among them",
        languages=("en", "zh"),
        megabytes=1535,
        support=("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
        sha256=MappingProxyType(
            {"model.safetensors": "612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b"}
        ),
    ),
    Entry(
        name="OFA-Sys/chinese-clip-vit-base-patch16",
        revision="36e679e65c2a2fead755ae21162091293ad37834",
        licence="MIT (stated in the repository OFA-Sys/Chinese-CLIP)",
        good_for="queries in Chinese",
        languages=("zh",),
        megabytes=753,
        weights="pytorch_model.bin",
        support=("config.json", "preprocessor_config.json", "vocab.txt"),
        sha256=_CHINESE,
    ),
    Entry(
        name="google/vit-base-patch16-224",
        revision="3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        licence="Apache-2.0",
        good_for="naming one of ImageNet's 1,000 classes; attention maps; not a search model",
        languages=(),
        megabytes=347,
        support=("config.json", "preprocessor_config.json"),
        image=ImageSpec(224, 224, "squash", 224, "bilinear", _HALF, _HALF),
    ),
    Entry(
        name="dhkim2810/MobileSAM",
        revision=None,
        licence="Apache-2.0 (stated in the repository ChaoningZhang/MobileSAM)",
        good_for="cutting things out on a laptop: a small encoder before the decoder of SAM",
        languages=(),
        megabytes=41,
        weights="mobile_sam.pt",
        support=(),
        sha256=MappingProxyType(
            {"mobile_sam.pt": "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"}
        ),
        image=_SAM_IMAGE,
        lone=True,
    ),
    _sam(
        "base",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        375,
        "cutting things out with fine edges; seconds a picture on a CPU, then milliseconds a click",
    ),
    _sam(
        "large",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
        1250,
        "better masks than base at three times its cost",
    ),
    _sam(
        "huge",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
        2565,
        "the best masks of the three; wants a GPU or patience",
    ),
    Entry(
        name="opencv/face_detection_yunet",
        revision="3cc26e7f1014a5ee5d74a42acee58bafc9d0a310",
        licence="MIT",
        good_for="finding faces; with opencv/face_recognition_sface, for `sensorium describe faces`",
        languages=(),
        megabytes=1,
        weights="face_detection_yunet_2023mar.onnx",
        support=(),
        sha256=MappingProxyType(
            {
                "face_detection_yunet_2023mar.onnx": (
                    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
                )
            }
        ),
        onnx=True,
    ),
    _qwen(
        "3B",
        "66285546d2b821cf421d4f5eb2576359d3770cd3",
        "Qwen Research License, not for commerce (in the repository's own LICENSE)",
        7521,
        "answering questions about photos, documents and films on 16 GB of memory (--dtype bfloat16)",
    ),
    _qwen(
        "7B",
        "cc594898137f460bfe9f0759e9844b3ce807cfb5",
        "Apache-2.0",
        16_596,
        "better answers on 32 GB of memory (--dtype bfloat16)",
    ),
    Entry(
        name="opencv/face_recognition_sface",
        revision=None,
        licence="Apache-2.0",
        good_for="telling faces apart, for `sensorium describe faces`",
        languages=(),
        megabytes=39,
        weights="face_recognition_sface_2021dec.onnx",
        support=(),
        sha256=MappingProxyType(
            {
                "face_recognition_sface_2021dec.onnx": (
                    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79"
                )
            }
        ),
        onnx=True,
    ),
)


def entry(name: str) -> Entry | None:
    """The entry called ``name``, or None: models outside the catalog can be pulled and used too."""
    return next((known for known in ENTRIES if known.name == name), None)
