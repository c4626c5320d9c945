"""``sensorium train mini-vlm``: the embedded model that answers questions, from nothing but packages.

Pictures of which everything is known are drawn (``train/data/question_scenes``) and looked at once by
EfficientNet, which is not trained. First the decoder learns the language of questions and answers without
any picture, which is also the control: what words alone can guess. Then, as in LLaVA, the connector learns
to speak to it while its blocks stand still: the token of each place should be one whose likeliest words, by
the decoder's own head, name what lies there. The words learn too, since those that only pictures tell apart
(the places, the colours) are all alike to a decoder that never saw any. Last all learn together.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F
from tokenizers import Regex, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import Tensor, nn

from sensorium.media.vocabulary import Vocabulary
from sensorium.models.connectors import MlpConfig
from sensorium.models.decoder import DecoderConfig
from sensorium.models.efficientnet import LITE2, EfficientNetTrunk
from sensorium.models.mini_vlm import MiniVlm, MiniVlmConfig
from sensorium.nn.rotary import RotaryConfig
from sensorium.runtime.device import choose
from sensorium.train.data.question_scenes import asked_world
from sensorium.train.data.question_shards import AskedShape, AskedShard, make_asked_shard
from sensorium.train.data.questions import Asked
from sensorium.train.data.sources import SOURCES, fetch
from sensorium.train.loop import Note, Settings, StepRecord, Task, train
from sensorium.train.optim import adamw, warmup_cosine
from sensorium.train.order import Place, Shuffled, generator
from sensorium.train.recipes.mini_vlm_measure import card, measure
from sensorium.train.trunk import channels, looking, weights

SIDE = 224  # pixels of the square that the model sees
PAD, USER, ASSISTANT, END, IMAGE = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"
SPECIAL = (PAD, USER, ASSISTANT, END, IMAGE)
"""Their ids are their places."""

TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}<|assistant|>{% else %}<|user|>"
    "{% endif %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% elif "
    "part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PARTS = (
    r"\[0\.[0-9]{2}|, 0\.[0-9]{2}[,\]]| 0\.[0-9]{2}"  # numbers of a box, other tokens for each of the four
    r"|[A-Z]|[0-9]"  # capitals and digits, which signs are spelled with
    r"|\p{Han}"
    r"| ?[\p{L}&&[^A-Z\p{Han}]]+| ?[^\s\p{L}\p{N}]+|\s+"
)
"""What tokens do not cross. Chinese names are one token wherever they stand, other Chinese is single
characters: merged, half a question would be one token, and a name another one in each question."""

_WEIGHTS = {
    **{"read": 4.0, "photo": 3.0, "count": 2.5, "what": 2.0},
    **{"point": 1.5, "side": 2.0, "beside": 1.5, "cannot": 1.5},
}
"""How much more often than others a topic is asked about; there are few pictures with a sign."""


@dataclass(frozen=True)
class Config:
    """The settings; the defaults make the shipped model."""

    out: Path = Path("runs/mini-vlm")
    sources: Path = Path("runs/mini-clip-sources")  # where packages are unpacked, or lie already
    pictures: int = 12_000
    held_pictures: int = 400  # of cut-outs and photographs that are not trained on
    vocabulary: int = 4096  # tokens
    width: int = 256  # of the decoder
    depth: int = 6
    heads: int = 4
    mlp_width: int = 704
    compiled: bool = False  # the decoder by torch.compile: a quarter faster, needs a C++ compiler
    words_steps: int = 1500  # of the decoder alone, without pictures: the control
    connector_steps: int = 6000  # of connector and words
    steps: int = 8700  # of connector and decoder
    naming: float = 0.3  # weight of the names of places beside the answers, when both learn
    batch: int = 16  # pictures a step
    rows: int = 8  # conversations about each
    second: float = 0.25  # how many of those have a second question
    lr: float = 1e-3
    connector_lr: float = 2e-3
    decay: float = 0.05
    dtype: str = "bfloat16"  # of what is computed; weights and losses stay float32
    seed: int = 0
    save_every: int = 100


_SHARPER = 3.0
"""Times the scores of names: words are short vectors, so no sum of two or three of them stands out enough."""


def run(config: Config, *, resume: bool = False) -> Iterator[StepRecord | Note]:
    """Rebuild the model; yields notes and records, and writes it to ``config.out / "model"``."""
    config.out.mkdir(parents=True, exist_ok=True)
    config.sources.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        fetch(source, config.sources)
    yield Note("have all sources")
    trunk = weights(config.sources)
    shards = yield from _pictures(config, trunk)
    if not (resume and (config.out / "tokenizer.json").is_file()):
        made = _vocabulary(shards["train"], config)
        (config.out / "tokenizer.json").write_text(made.to_json(), "utf-8")
    vocabulary = Vocabulary.from_folder(config.out)
    torch.manual_seed(config.seed)
    network = untrained(config, vocabulary.size, trunk)
    torch.set_flush_denormal(True)
    if config.compiled:
        for block in network.decoder.blocks:
            block.compile(dynamic=True)

    def measured(*, seeing: bool = True, held: bool = False) -> dict[str, float]:
        shard = shards["held"] if seeing else shards["held"].blind()
        with torch.compiler.set_stance("force_eager"):  # answers have many lengths, each used a few times
            return measure(network.eval(), shard, vocabulary, seeing=seeing, held=held)

    control: dict[str, Any] = {}
    for stage in stages(config):
        if not stage.steps:
            continue
        yield Note(f"{stage.name}: {stage.steps} steps of {stage.batch} pictures")
        yield from _learn(network, stage, shards["train"], vocabulary, config, resume=resume)
        if stage.blind:
            kept = config.out / "words-alone.json"  # a resumed run need not measure again
            if not (resume and kept.is_file()):
                kept.write_text(json.dumps(measured(seeing=False)), "utf-8")
            control = json.loads(kept.read_text("utf-8"))
            yield Note("from words alone: " + json.dumps(control))
    figures, others = measured(), measured(held=True)
    yield Note(json.dumps(figures))
    yield Note("asked in other words: " + json.dumps(others))
    folder = config.out / "model"
    write(network, vocabulary, folder)
    told = {name: str(value) for name, value in asdict(config).items() if name not in ("out", "sources")}
    (folder / "README.md").write_text(card(told, figures, others, control, config.held_pictures), "utf-8")
    yield Note(f"the model and its card are in {folder}")


def _pictures(config: Config, trunk: dict[str, Tensor]) -> Generator[Note, None, dict[str, AskedShard]]:
    """Draw the pictures to learn from and those held back, and look at them, unless that was done."""
    eyes = EfficientNetTrunk(LITE2)
    eyes.load_state_dict(trunk)
    shards = {}
    for name, count, first in (
        ("train", config.pictures, 0),
        ("held", config.held_pictures, 20_000_000),
    ):
        shape, folder = AskedShape(count, SIDE, first), config.out / "pictures" / name
        made_of = asked_world(config.sources, held=name != "train")
        for done in make_asked_shard(folder, made_of, shape, looking(eyes, SIDE)):
            yield Note(f"{name}: drew and looked at {done} of {count} pictures")
        shards[name] = AskedShard(folder, shape, channels())
    return shards


def _learn(
    network: MiniVlm,
    stage: Stage,
    pictures: AskedShard,
    vocabulary: Vocabulary,
    config: Config,
    *,
    resume: bool,
) -> Iterator[StepRecord]:
    """The steps of a stage, of the parts that it trains."""
    network.train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trained))
    shard = pictures.blind() if stage.blind else pictures
    yield from train(
        network,
        task(network, seeing=not stage.blind, answering=stage.answering),
        Loader(shard, vocabulary, config),
        Shuffled(shard.shape.count, stage.batch, config.seed),
        adamw(network, stage.lr, decay=config.decay),
        warmup_cosine(stage.steps, min(100, stage.steps // 5), floor=0.02),
        Settings(
            folder=config.out / stage.name,
            steps=stage.steps,
            seed=config.seed,
            save_every=config.save_every,
            clip=1.0,
            weights={"names": config.naming} if stage.answering and not stage.blind else {},
        ),
        placement=choose(dtype=config.dtype),
        resume=resume,
    )


@dataclass(frozen=True)
class Stage:
    """A part of the training: which parts learn, for how long."""

    name: str
    trained: tuple[str, ...]  # prefixes of names of parameters
    blind: bool  # without pictures
    answering: bool  # the answers are learned, not only the names of places
    steps: int
    batch: int
    lr: float


def stages(config: Config) -> tuple[Stage, ...]:
    """Words alone; the connector, and the words that it speaks in; connector and decoder."""
    eyes = ("connector.", "norm.", "positions")
    speaking, both = (*eyes, "decoder.embedding"), (*eyes, "decoder.")
    return (
        Stage("words", ("decoder.",), True, True, config.words_steps, config.batch, config.lr),
        Stage("connector", speaking, False, False, config.connector_steps, config.batch, config.connector_lr),
        Stage("both", both, False, True, config.steps, config.batch, config.lr),
    )


def architecture(config: Config, tokens: int) -> MiniVlmConfig:
    """The network that these settings describe."""
    head_dim = config.width // config.heads
    return MiniVlmConfig(
        side=SIDE,
        trunk=LITE2,
        connector=MlpConfig(2, "gelu", True),
        text=DecoderConfig(
            vocabulary=tokens,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            kv_heads=config.heads,
            head_dim=head_dim,
            mlp_width=config.mlp_width,
            mlp="swiglu",
            norm="rms",
            norm_eps=1e-6,
            norm_first=True,
            final_norm=True,
            qkv_bias=False,
            out_bias=False,
            mlp_bias=False,
            positions=RotaryConfig(head_dim, 10_000.0, None, None),
            context_length=512,
            word_width=config.width,
            tied=True,
        ),
        image_token=SPECIAL.index(IMAGE),
        most_pictures=1,
    )


def untrained(config: Config, tokens: int, trunk: dict[str, Tensor]) -> MiniVlm:
    """The network with EfficientNet's weights in its tower."""
    network = MiniVlm(architecture(config, tokens))
    network.vision.load_state_dict(trunk)
    for block in network.decoder.blocks:  # GPT-2's rule: what is added to the residual starts smaller
        for part in (block.attention.out, block.mlp.down):  # type: ignore[union-attr]
            nn.init.normal_(part.weight, std=0.02 / (2 * config.depth) ** 0.5)  # type: ignore[union-attr, arg-type]
    return network


def _vocabulary(shard: AskedShard, config: Config) -> Vocabulary:
    """Byte-pair tokens of the questions and answers; digits and capitals by themselves, places as one."""
    core = tokenizers.Tokenizer(BPE())
    chinese = _any_of(kind.chinese for kind in shard.kinds)
    parts = pre_tokenizers.Split(Regex(f"{chinese}|{_PARTS}"), "isolated")
    levels = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer = pre_tokenizers.Sequence([parts, levels])
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (
        text
        for place in range(shard.shape.count)
        for asked in shard.asked(place, each=2)
        for text in (asked.question, asked.answer)
    )
    core.train_from_iterator(texts, trainer)
    return Vocabulary(core)


def _any_of(names: Iterable[str]) -> str:
    """A regular expression of names, the longest first."""
    return "|".join(re.escape(name) for name in sorted(set(names), key=lambda name: (-len(name), name)))


@dataclass(frozen=True)
class Loader:
    """Makes the batch of a step: what the tower saw of some pictures, and conversations about each."""

    shard: AskedShard
    vocabulary: Vocabulary
    config: Config

    def __call__(self, places: Sequence[Place]) -> dict[str, Any]:
        """``maps``: four tensors [b, ...]; ``ids``, ``real``, ``answers`` [b * rows, n]; ``owner`` [b*rows].

        ``real`` is false where there is padding, ``answers`` true for tokens that are to be learned.
        """
        conversations, owners = [], []
        for number, place in enumerate(places):
            random = generator(self.config.seed, place)
            asked = self.shard.asked(place.item, random, each=2)
            for _ in range(self.config.rows):
                conversations.append(self._conversation(asked, random))
                owners.append(number)
        longest = max(len(ids) for ids, _ in conversations)
        ids = torch.full((len(conversations), longest), SPECIAL.index(PAD))
        answers = torch.zeros(ids.shape, dtype=torch.bool)
        for row, (tokens, learned) in enumerate(conversations):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            answers[row, : len(tokens)] = torch.tensor(learned)
        return {
            "maps": self.shard.features([place.item for place in places]),
            "ids": ids,
            "real": ids != SPECIAL.index(PAD),
            "answers": answers,
            "owner": torch.tensor(owners),
            **self._names([place.item for place in places]),
        }

    def _names(self, places: Sequence[int]) -> dict[str, Tensor]:
        """Where things lie and what they are called.

        ``lies`` int64 [b, tokens]: the row of ``names`` that each place has, 0 for none; ``names`` float32
        [things + 1, vocabulary]: equal shares for all tokens of all its names.
        """
        rows: dict[tuple[str, ...], int] = {(): 0}
        lies = np.zeros((len(places), self.shard.places[0].size), np.int64)
        for number, place in enumerate(places):
            of = [rows.setdefault(tuple(thing), len(rows)) for thing in self.shard.things[place]]
            lies[number] = np.array([0, *of])[self.shard.places[place].reshape(-1)]
        names = torch.zeros(len(rows), self.vocabulary.size)
        for thing, row in rows.items():
            ids = [token for name in thing for token in self._tokens(name)]
            names[row].index_add_(0, torch.tensor(ids, dtype=torch.long), torch.ones(len(ids)))
        return {
            "lies": torch.from_numpy(lies),
            "names": names / names.sum(1, keepdim=True).clamp_min(1),
        }

    @cached_property
    def _kind_names(self) -> re.Pattern[str]:
        return re.compile(_any_of(name for kind in self.shard.kinds for name in kind))

    def _tokens(self, name: str) -> list[int]:
        """Of a name as it stands in an answer: an English word behind a space."""
        latin = name.isascii() and len(name) > 1 and name[0] != "["
        return self.vocabulary.encode(f" {name}" if latin else name)

    def _conversation(
        self, questions: Sequence[Asked], random: np.random.Generator
    ) -> tuple[list[int], list[bool]]:
        """What follows the picture: a question and its answer, perhaps another one after them."""
        weights = np.array([_WEIGHTS.get(asked.topic, 1.0) for asked in questions])
        count = 2 if random.random() < self.config.second and len(questions) > 1 else 1
        chosen = random.choice(len(questions), count, replace=False, p=weights / weights.sum())
        ids: list[int] = []
        learned: list[bool] = []
        for turn, number in enumerate(chosen):
            asked = questions[int(number)]
            question = [SPECIAL.index(USER)] * (turn > 0) + self._question(asked.question, random)
            answer = [*self.vocabulary.encode(asked.answer), SPECIAL.index(END)]
            ids += [*question, SPECIAL.index(ASSISTANT), *answer]
            learned += [False] * (len(question) + 1) + [True] * len(answer)
        return ids, learned

    def _question(self, text: str, random: np.random.Generator) -> list[int]:
        """Its tokens, mostly those of pieces that are cut anywhere but in the names of things.

        Who asks in other words uses tokens that phrases seen before have inside longer ones, and which are
        learned in no other way (as by BPE-dropout, Provilkov et al. 2020). A name keeps its token, which its
        answer repeats.
        """
        if random.random() < 0.3:
            return self.vocabulary.encode(text)
        latin = np.array([character.isascii() and character.isalpha() for character in text])
        chances = np.where(latin[1:] & latin[:-1], 0.15, 1.0) * random.uniform(0.05, 0.6)
        chances[np.array([character == " " for character in text[:-1]])] = 0  # words begin with their space
        for name in self._kind_names.finditer(text):
            chances[name.start() : name.end() - 1] = 0
        cuts = np.flatnonzero(random.random(len(text) - 1) < chances) + 1
        pieces = itertools.pairwise([0, *cuts.tolist(), len(text)])
        return [token for start, end in pieces for token in self.vocabulary.encode(text[start:end])]


def task(network: MiniVlm, *, seeing: bool, answering: bool = True) -> Task:
    """The loss of the tokens of all answers, given picture and question, and that of the names of places.

    Without ``seeing`` the former alone, without any picture; without ``answering`` the latter alone.
    """

    def named(batch: dict[str, Any]) -> Tensor:
        """How badly the token of each place names what lies there: mean over the places with something."""
        lies = batch["lies"].flatten()
        there = lies > 0
        tokens = network.connected(*batch["maps"]).flatten(0, 1)[there]
        norm = network.decoder.norm
        scores = _SHARPER * network.decoder.logits(tokens if norm is None else norm(tokens)).float()
        missed = F.cross_entropy(scores, batch["names"][lies[there]], reduction="sum")
        return missed / max(1, int(there.sum()))

    def losses(batch: dict[str, Any]) -> tuple[dict[str, Tensor], int]:
        """A batch of ``Loader`` -> the sums of losses over the tokens of answers, and how many these are."""
        count = int(batch["answers"].sum())
        found = {"names": named(batch) * count} if seeing else {}
        return (found | {"answers": answers(batch)} if answering else found), count

    def answers(batch: dict[str, Any]) -> Tensor:
        """The sum of cross-entropies."""
        decoder, owner = network.decoder, batch["owner"]
        pictures = len(batch["maps"][0])
        start = decoder.embed(torch.full((pictures, 1), SPECIAL.index(USER), device=owner.device))
        seen = [start, network.connected(*batch["maps"])] if seeing else [start]
        _, cache = decoder(torch.cat([part.to(start.dtype) for part in seen], dim=1), last=1)
        lengths = batch["real"].sum(1)
        order = lengths.argsort(stable=True)
        loss = start.new_zeros((), dtype=torch.float32)
        for rows in (order[: 3 * len(order) // 4], order[3 * len(order) // 4 :]):  # less padding
            if not len(rows):
                continue
            longest = int(lengths[rows].max())
            ids, real, learned = (batch[name][rows, :longest] for name in ("ids", "real", "answers"))
            hidden, _ = decoder(decoder.embed(ids), mask=real, cache=cache.select(owner[rows]))
            scores = decoder.logits(hidden[:, :-1][learned[:, 1:]]).float()
            loss = loss + F.cross_entropy(scores, ids[:, 1:][learned[:, 1:]], reduction="sum")
        return loss

    return losses


def write(network: MiniVlm, vocabulary: Vocabulary, folder: Path) -> None:
    """The model as a folder: weights in float16, config, preparation, vocabulary, template."""
    from safetensors.torch import save_file

    from sensorium.weights.maps import mini_vlm as layout
    from sensorium.weights.pictures import picture_fields
    from sensorium.weights.rules import original

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = original(network.state_dict(), layout.RULES)
    save_file({key: value.half().contiguous() for key, value in state.items()}, folder / "model.safetensors")
    files: dict[str, Any] = {
        "config.json": layout.write_config(network.config),
        "preprocessor_config.json": picture_fields(layout.picture_spec(network.config)),
        "tokenizer_config.json": {"eos_token": END, "pad_token": PAD},
        "generation_config.json": {"eos_token_id": SPECIAL.index(END)},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "tokenizer.json").write_text(vocabulary.to_json(), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE + "\n", "utf-8")
