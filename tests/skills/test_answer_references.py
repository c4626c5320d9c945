"""An answer as a whole is transformers': its template, processor, network and greedy writing, ours from the
same folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_answerers as tiny
from sensorium.skills.answer import Picture, Settings, Turn, load

MOST = 24
SIZES = [(90, 60), (33, 47), (28, 28), (200, 31)]
NETWORKS: dict[str, Any] = {
    "llava": transformers.LlavaForConditionalGeneration,
    "next": transformers.LlavaNextForConditionalGeneration,
    "qwen": transformers.Qwen2_5_VLForConditionalGeneration,
    "blip2": transformers.Blip2ForConditionalGeneration,
    "instruct": transformers.InstructBlipForConditionalGeneration,
}
PICTURES: dict[str, Any] = {
    "llava": LlavaImageProcessorPil,
    "next": LlavaNextImageProcessorPil,
    "qwen": Qwen2VLImageProcessorPil,
    "blip2": BlipImageProcessorPil,
    "instruct": BlipImageProcessorPil,
}


def processor_of(kind: str, folder: Path) -> Any:
    """transformers' processor, put together as its `AutoProcessor` does with torchvision at hand."""
    raw = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    pictures = PICTURES[kind].from_dict(raw)
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    if kind == "blip2":
        return transformers.Blip2Processor(pictures, words, num_query_tokens=5)
    if kind == "instruct":
        asking = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        return transformers.InstructBlipProcessor(pictures, words, asking, num_query_tokens=5)
    template = (folder / "chat_template.jinja").read_text("utf-8")
    if kind == "qwen":
        words.image_token, words.video_token = "<image>", "<|video|>"
        words.image_token_id, words.video_token_id = tiny.IMAGE, tiny.VIDEO
        made = object.__new__(transformers.Qwen2_5_VLProcessor)
        made.image_processor, made.tokenizer, made.chat_template = pictures, words, template
        made.image_token, made.video_token = "<image>", "<|video|>"
        made.image_token_id, made.video_token_id = tiny.IMAGE, tiny.VIDEO
        return made
    kinds = {"llava": transformers.LlavaProcessor, "next": transformers.LlavaNextProcessor}
    return kinds[kind](
        pictures,
        words,
        patch_size=7,
        vision_feature_select_strategy="default",
        chat_template=template,
        image_token="<image>",
        num_additional_image_tokens=1,
    )


def theirs(kind: str, folder: Path, network: Any, images: list[Image.Image], question: str) -> list[int]:
    """The tokens that transformers writes."""
    processor = processor_of(kind, folder)
    if kind in ("blip2", "instruct"):
        text = f"Question: {question} Answer:" if kind == "blip2" else question
    else:
        shown = [{"type": "image"} for _ in images]
        message = {"role": "user", "content": [*shown, {"type": "text", "text": question}]}
        text = processor.tokenizer.apply_chat_template(
            [message], chat_template=processor.chat_template, tokenize=False, add_generation_prompt=True
        )
    inputs = processor(images=images, text=text, return_tensors="pt")
    written = network.generate(
        **inputs, max_new_tokens=MOST, do_sample=False, eos_token_id=tiny.END, pad_token_id=tiny.END
    )
    asked = inputs["input_ids"]
    repeated = torch.equal(written[:, : asked.shape[1]], asked)  # some give the prompt back, too
    return [int(token) for token in written[0, asked.shape[1] if repeated else 0 :]]


@pytest.mark.parametrize("kind", NETWORKS)
def test_answers_are_those_of_transformers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENSORIUM_HOME", str(tmp_path / "home"))
    folder = tiny.folder_of(kind, tmp_path)
    network = NETWORKS[kind].from_pretrained(folder, dtype=torch.float32).eval()
    if kind in ("blip2", "instruct"):
        network.config.image_token_id = tiny.IMAGE
    if kind == "next":  # published checkpoints have them in both files
        raw = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
        network.config.image_grid_pinpoints = raw["image_grid_pinpoints"]
    model = load(str(folder), device="cpu")
    answers = set()
    for number, size in enumerate(SIZES):
        image = tiny.gradient(*size, 50 * number)
        wanted = theirs(kind, folder, network, [image], "what is on it?")
        turn = Turn("user", (Picture.of(image, "picture"), "what is on it?"))
        stream = model.stream(model.prepare((turn,), Settings(most=MOST)))
        found = "".join(stream)
        assert found.strip() == model.vocabulary.decode(wanted).strip(), size
        answers.add(found)
    assert len(answers) > 1
