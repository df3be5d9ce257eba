# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Calls of the processor: texts with placeholders, images in every arrangement, saving and loading."""

import base64
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from processor_parts import (
    CHATML,
    SIZE,
    TOKENS,
    build_processor,
    build_tokenizer,
    clip_images,
    encoded,
    picture,
    siglip_images,
)
from transformers import AutoTokenizer, ConvNextImageProcessor, LlavaNextImageProcessor

from wings_hf.processing.processing_wings import WingsProcessor

PROCESSOR = build_processor()
IMAGE_ID = PROCESSOR.image_token_id
TEXTS = ["one <image> two<image>", "nothing here", "<image>"]
PICTURES = [picture(i) for i in range(3)]


def alone(image) -> torch.Tensor:
    return PROCESSOR.image_processor(image, return_tensors="pt")["pixel_values"][0]


def expected_ids(text: str, processor=PROCESSOR, tokens: int = TOKENS) -> list[int]:
    """Each piece of text by itself, with the image tokens between."""
    pieces = [processor.tokenizer(piece)["input_ids"] for piece in text.split("<image>")]
    ids = list(pieces[0])
    for piece in pieces[1:]:
        ids += [processor.image_token_id] * tokens + piece
    return ids


# -- outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "images", [PICTURES, [PICTURES[:2], [], PICTURES[2:]], (tuple(PICTURES[:2]), None, [PICTURES[2]])]
)
def test_images_anywhere_in_a_batch(images):
    outputs = PROCESSOR(images=images, text=TEXTS, padding=True, return_tensors="pt")
    assert set(outputs) == {"input_ids", "attention_mask", "mm_token_type_ids", "pixel_values"}
    assert set(outputs) == set(PROCESSOR.model_input_names)
    assert outputs["pixel_values"].shape == (3, 3, SIZE, SIZE)
    for i, image in enumerate(PICTURES):
        assert torch.equal(outputs["pixel_values"][i], alone(image))
    for row, text in enumerate(TEXTS):
        kept = outputs["attention_mask"][row].bool()
        assert outputs["input_ids"][row][kept].tolist() == expected_ids(text)
        assert (outputs["input_ids"][row][~kept] == PROCESSOR.tokenizer.pad_token_id).all()
    assert torch.equal(outputs["mm_token_type_ids"], (outputs["input_ids"] == IMAGE_ID).long())
    assert outputs["mm_token_type_ids"].sum(-1).tolist() == [2 * TOKENS, 0, TOKENS]


@pytest.mark.parametrize("text", ["<image>", "<image>a", "a<image>", "<image><image>", "a<image><image>b <image>"])
def test_ids_around_images(text):
    count = text.count("<image>")
    outputs = PROCESSOR(images=[picture()] * count, text=text)
    assert outputs["input_ids"] == [expected_ids(text)]
    assert len(outputs["pixel_values"]) == count


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_side(side):
    for processor, call in [
        (build_processor(build_tokenizer(padding_side=side)), {}),
        (PROCESSOR, {"padding_side": side}),
    ]:
        outputs = processor(images=PICTURES, text=TEXTS, padding=True, return_tensors="np", **call)
        length = outputs["input_ids"].shape[1]
        real = outputs["attention_mask"].sum(-1)
        for row, count in enumerate(real):
            positions = np.arange(length)
            inside = positions >= length - count if side == "left" else positions < count
            assert np.array_equal(outputs["attention_mask"][row], inside)
            assert not outputs["mm_token_type_ids"][row][~inside].any()


@pytest.mark.parametrize("kind", [None, "pt", "np"])
def test_return_tensors(kind):
    outputs = PROCESSOR(images=PICTURES, text=TEXTS, padding=True, return_tensors=kind)
    expected = {None: list, "pt": torch.Tensor, "np": np.ndarray}[kind]
    assert all(type(value) is expected for value in outputs.values())
    if kind is not None:
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            assert str(outputs[name].dtype).endswith("int64")
        assert str(outputs["pixel_values"].dtype).endswith("float32")


def test_rows_of_different_lengths_need_padding():
    assert [len(row) for row in PROCESSOR(images=PICTURES, text=TEXTS)["input_ids"]] == [
        len(expected_ids(text)) for text in TEXTS
    ]
    with pytest.raises(ValueError, match=r"rows of one length, got \[\d+, \d+, 9\] tokens: pass padding=True"):
        PROCESSOR(images=PICTURES, text=TEXTS, return_tensors="pt")
    with pytest.raises(ValueError, match="return_tensors must be one of"):
        PROCESSOR(text="a", return_tensors="tf")


@pytest.mark.parametrize("text", ["a text", ["a text"], ["a text", "another one, longer"], ""])
@pytest.mark.parametrize("images", [None, []])
def test_text_only(text, images):
    outputs = PROCESSOR(images=images, text=text, padding=True, return_tensors="pt")
    assert set(outputs) == {"input_ids", "attention_mask", "mm_token_type_ids"}
    plain = PROCESSOR.tokenizer([text] if isinstance(text, str) else text, padding=True)
    assert outputs["input_ids"].tolist() == plain["input_ids"]
    assert outputs["mm_token_type_ids"].shape == outputs["input_ids"].shape
    assert not outputs["mm_token_type_ids"].any()
    assert outputs["input_ids"].dtype == outputs["mm_token_type_ids"].dtype == torch.int64


def test_images_only():
    outputs = PROCESSOR(images=[[PICTURES[0]], [], PICTURES[1:]], return_tensors="pt")
    assert list(outputs) == ["pixel_values"]
    assert torch.equal(outputs["pixel_values"], torch.stack([alone(image) for image in PICTURES]))
    assert torch.equal(PROCESSOR(images=PICTURES[0], return_tensors="pt")["pixel_values"][0], alone(PICTURES[0]))


def test_a_single_image_of_each_kind(tmp_path):
    path = tmp_path / "image.png"
    data = encoded(picture())
    path.write_bytes(data)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    array = np.asarray(picture())
    for image in (picture(), array, torch.from_numpy(array.copy()).permute(2, 0, 1), path, str(path), data, url):
        for images in (image, [image], [[image]]):
            outputs = PROCESSOR(images=images, text="<image>", return_tensors="pt")
            assert torch.equal(outputs["pixel_values"], alone(picture())[None])


def test_a_batch_in_one_array():
    batch = np.stack([np.asarray(image) for image in PICTURES])
    expected = PROCESSOR(images=PICTURES, text=TEXTS, padding=True, return_tensors="pt")
    for images in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2), [batch[:2], [], batch[2:]], list(batch)):
        outputs = PROCESSOR(images=images, text=TEXTS, padding=True, return_tensors="pt")
        assert torch.equal(outputs["pixel_values"], expected["pixel_values"])


def test_token_type_ids_come_only_when_asked_for():
    assert "token_type_ids" not in PROCESSOR(text="a")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    processor = build_processor(build_tokenizer(model_input_names=names))
    assert set(processor(text="a")) == set(processor.model_input_names) - {"pixel_values"}
    assert "token_type_ids" in PROCESSOR(text="a", return_token_type_ids=True)
    assert "mm_token_type_ids" not in PROCESSOR(text="a", return_mm_token_type_ids=False)


def test_other_outputs_of_the_tokenizer_are_kept():
    outputs = PROCESSOR(
        images=PICTURES, text=TEXTS, padding=True, return_tensors="pt", return_offsets_mapping=True, return_length=True
    )
    assert outputs["offset_mapping"].shape == (*outputs["input_ids"].shape, 2)
    assert outputs["length"].shape == (3,)


# -- counting -----------------------------------------------------------------------------------------------


def test_strategies_and_prefix_tokens():
    for settings, tokens in [
        ({"vision_feature_select_strategy": "full"}, TOKENS + 1),
        ({"num_additional_image_tokens": 5, "vision_feature_select_strategy": "full"}, TOKENS + 5),
        ({"num_additional_image_tokens": 5}, TOKENS),
        ({"num_additional_image_tokens": 0}, TOKENS),
        ({"patch_size": 4}, 16),
        ({"patch_size": 4, "feature_map_rounding": "ceil"}, 25),
        ({"patch_size": [6, 9]}, 6),
    ]:
        processor = build_processor(**settings)
        ids = processor(images=picture(), text="a <image>")["input_ids"]
        assert ids == [expected_ids("a <image>", processor, tokens)]
        assert processor._get_num_multimodal_tokens(image_sizes=[(30, 40)])["num_image_tokens"] == [tokens]


SIZES = [(100, 100), (300, 100), (50, 30), (213, 167)]


@pytest.mark.parametrize(
    ("image_processor", "call"),
    [
        (clip_images(), {}),
        (clip_images(), {"crop_size": {"height": 12, "width": 24}}),
        (siglip_images(), {}),
        (siglip_images(), {"size": {"height": 30, "width": 6}}),
        (clip_images(do_center_crop=False), {}),
        (clip_images(do_resize=False), {}),
        (clip_images(do_center_crop=False, do_resize=False), {}),
        (ConvNextImageProcessor(size={"shortest_edge": 24}), {}),
        (siglip_images(do_resize=False), {}),
        (clip_images(do_pad=True, pad_size={"height": 30, "width": 24}), {}),
    ],
    ids=[
        "clip",
        "clip-crop",
        "siglip",
        "siglip-size",
        "resize-only",
        "crop-only",
        "as-is",
        "convnext",
        "siglip-as-is",
        "padded",
    ],
)
def test_predicted_counts_match_calls(image_processor, call):
    processor = build_processor(image_processor=image_processor)
    predicted = processor._get_num_multimodal_tokens(image_sizes=SIZES, **call)
    assert predicted["num_image_patches"] == [1] * len(SIZES)
    for (height, width), count in zip(SIZES, predicted["num_image_tokens"], strict=True):
        outputs = processor(images=Image.new("RGB", (width, height)), text="<image>", images_kwargs=dict(call))
        assert sum(outputs["mm_token_type_ids"][0]) == count
    assert processor._get_num_multimodal_tokens()["num_image_tokens"] is None


def test_images_of_different_sizes_do_not_stack():
    processor = build_processor(image_processor=clip_images(do_center_crop=False))
    images = [Image.new("RGB", (40, 20)), Image.new("RGB", (20, 40))]
    assert len(processor(images=images, text="<image><image>")["pixel_values"]) == 2
    with pytest.raises(ValueError, match=r"different sizes, \[\(3, 20, 40\), \(3, 40, 20\)\]"):
        processor(images=images, text="<image><image>", return_tensors="pt")


def test_without_patch_size_images_raise_and_texts_work():
    processor = WingsProcessor(clip_images(), build_tokenizer())
    assert processor(text="a")["input_ids"]
    with pytest.raises(ValueError, match="no patch_size"):
        processor(images=picture(), text="<image>")


def test_tiling_image_processors_are_refused():
    tiles = LlavaNextImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=[[SIZE, SIZE]]
    )
    with pytest.raises(ValueError, match=r"LlavaNextImageProcessor.*tiles are not supported"):
        build_processor(image_processor=tiles)(images=picture(), text="<image>")


def test_a_sliver_is_refused_before_it_is_scaled_up(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("scaled")

    processor = build_processor(image_processor=clip_images())
    monkeypatch.setattr(type(processor.image_processor), "preprocess", never)
    with pytest.raises(ValueError, match=r"500000x1 pixels would be scaled to 20 by 10000000, more than"):
        processor(images=Image.new("RGB", (500_000, 1)), text="<image>")


# -- mismatches ---------------------------------------------------------------------------------------------

RULE = "The number of <image> tokens in the prompts should be the same as the number of images passed"


@pytest.mark.parametrize(
    ("images", "text", "message"),
    [
        (None, ["a", "b <image>"], r"Found 1 <image> tokens in the text but no images were passed \(sample 1 has 1\)"),
        ([], "<image>", f"{RULE}. Found 1 tokens in 1 samples .by sample: .1.. and 0 images"),
        (PICTURES, "<image>", f"{RULE}. Found 1 tokens in 1 samples .by sample: .1.. and 3 images"),
        (PICTURES[:2], ["<image>", "<image><image>"], r"Found 3 tokens in 2 samples \(by sample: \[1, 2\]\) and 2"),
        (picture(), "no place", "Found 0 tokens in 1 samples"),
        ([PICTURES[:1], PICTURES[1:]], ["<image><image>", "<image>"], "Sample 0 has 2 tokens and 1 images"),
        ([PICTURES, []], ["<image>" * 3, "<image>"], "Sample 1 has 1 tokens and 0 images"),
        ([[], PICTURES[:1]], ["a", "b", "<image>"], "2 lists of images for 3 texts"),
        ([PICTURES[0], PICTURES[1:]], ["<image>", "<image><image>"], "mixes lists and single images .entry 0 is a"),
        ([None, PICTURES[0]], ["a", "<image>"], "mixes lists and single images .entry 1"),
        ([[3]], "<image>", "object of type int is not an image"),
        (np.zeros((2, 2, 2, 2, 3), np.uint8), "<image>", r"ndarray of shape \(2, 2, 2, 2, 3\) is not an image"),
        (None, None, "needs text=, images= or both"),
        (None, [], "at least one string, got"),
        (None, 5, "text must be a string or a list"),
        (None, [["a", "b"]], "entry 0 is list"),
        (None, ["a", 1], "entry 1 is int"),
    ],
)
def test_mismatches_name_samples_and_counts(images, text, message):
    with pytest.raises(ValueError, match=message):
        PROCESSOR(images=images, text=text)


def test_mismatches_raise_before_images_are_read():
    with pytest.raises(ValueError, match=re.escape(RULE)):
        PROCESSOR(images=["no/such/file.png"], text="<image><image>")


def test_unreadable_images_are_named():
    with pytest.raises(ValueError, match=r"Image 1 of sample 2: the file 'missing.png' cannot be opened"):
        PROCESSOR(images=[[], PICTURES[:1], [PICTURES[0], "missing.png"]], text=["a", "<image>", "<image><image>"])


def test_other_modalities_are_refused():
    assert PROCESSOR(text="a", videos=None, audio=None)["input_ids"]
    with pytest.raises(ValueError, match="images and text only, got videos"):
        PROCESSOR(text="a", videos=[1])


# -- truncation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_takes_text_but_no_image_tokens(side):
    processor = build_processor(build_tokenizer(truncation_side=side))
    filler = "word " * 20
    text = f"<image>{filler}" if side == "right" else f"{filler}<image>"
    full = processor(images=picture(), text=text)["input_ids"][0]
    kept = processor(images=picture(), text=text, truncation=True, max_length=TOKENS)["input_ids"][0]
    assert kept == (full[:TOKENS] if side == "right" else full[-TOKENS:])
    for max_length in (TOKENS - 1, 1):
        message = f"Sample 0 has {max_length} of the {TOKENS} image tokens of its 1 images left after truncation"
        with pytest.raises(ValueError, match=message):
            processor(images=picture(), text=text, truncation=True, max_length=max_length)


def test_an_image_lost_as_a_whole_raises_too():
    with pytest.raises(ValueError, match=f"Sample 1 has {TOKENS} of the {2 * TOKENS} image tokens of its 2 images"):
        PROCESSOR(images=PICTURES, text=["<image>", "<image><image>"], truncation=True, max_length=TOKENS)


def test_truncation_at_the_tokenizers_own_limit():
    processor = build_processor(build_tokenizer(model_max_length=12))
    with pytest.raises(ValueError, match="truncation to max_length=12"):
        processor(images=PICTURES[:2], text="<image><image>", truncation=True)


def test_rows_are_never_split():
    with pytest.raises(ValueError, match="return_overflowing_tokens"):
        PROCESSOR(text="a b c", truncation=True, max_length=2, return_overflowing_tokens=True)


def test_a_pad_token_that_is_the_image_token_is_noticed():
    processor = build_processor()
    processor.tokenizer.pad_token = "<image>"
    with pytest.raises(ValueError, match="use it for nothing else, such as padding"):
        processor(images=picture(), text=["<image>", "a"], padding=True)


# -- options ------------------------------------------------------------------------------------------------


def test_options_of_a_call_and_of_the_processor():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    processor = build_processor()
    first = processor(images=frames[0], text="<image>", return_tensors="pt")["pixel_values"]
    with pytest.raises(ValueError, match="Image 0 of sample 0: it holds several frames"):
        processor(images=animation, text="<image>")
    for call in ({"animated": "first_frame"}, {"images_kwargs": {"animated": "first_frame"}}):
        assert torch.equal(
            processor(images=animation, text="<image>", return_tensors="pt", **call)["pixel_values"], first
        )
    processor.animated = "first_frame"
    assert torch.equal(processor(images=animation, text="<image>", return_tensors="pt")["pixel_values"], first)
    with pytest.raises(ValueError, match="more than the limit of 63"):
        processor(images=animation, text="<image>", max_image_pixels=63)
    processor.max_image_pixels = 63
    with pytest.raises(ValueError, match="more than the limit of 63"):
        processor(images=animation, text="<image>")
    with pytest.raises(ValueError, match="allow_urls=True"):
        processor(images="https://example.com/a.png", text="<image>")


def test_permissions_are_not_saved(tmp_path):
    processor = build_processor()
    processor.allow_urls, processor.animated, processor.max_image_pixels = True, "first_frame", 5
    processor.save_pretrained(tmp_path)
    loaded = WingsProcessor.from_pretrained(tmp_path)
    assert (loaded.allow_urls, loaded.animated, loaded.max_image_pixels) == (False, "error", 89_478_485)
    assert "allow_urls" not in (tmp_path / "processor_config.json").read_text()


def test_image_arguments_reach_the_image_processor():
    outputs = PROCESSOR(images=picture(), text="<image>", do_normalize=False, return_tensors="pt")
    expected = PROCESSOR.image_processor(picture(), do_normalize=False, return_tensors="pt")
    assert torch.equal(outputs["pixel_values"], expected["pixel_values"])


def test_the_channel_order_of_arrays_can_be_given():
    array = np.random.default_rng(0).integers(0, 256, (3, 40, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"Image 0 of sample 0: .*input_data_format"):
        PROCESSOR(images=array, text="<image>")
    first = PROCESSOR(images=array, text="<image>", input_data_format="channels_first", return_tensors="pt")
    expected = alone(Image.fromarray(array.transpose(1, 2, 0)))
    assert torch.equal(first["pixel_values"][0], expected)


def test_float_arrays_need_rescaling():
    values = np.full((20, 20, 3), 0.5, np.float32)
    with pytest.raises(ValueError, match="do_rescale=True"):
        PROCESSOR(images=values, text="<image>", do_rescale=False)
    processor = build_processor(image_processor=clip_images(do_rescale=False))
    with pytest.raises(ValueError, match="do_rescale=True"):
        processor(images=values, text="<image>")


def test_arguments_are_not_changed():
    text, images = ["<image>"], [[picture()]]
    groups = {"text_kwargs": {"padding": True}, "images_kwargs": {"do_normalize": False}}
    PROCESSOR(images=images, text=text, **groups)
    assert text == ["<image>"]
    assert len(images[0]) == 1
    assert groups == {"text_kwargs": {"padding": True}, "images_kwargs": {"do_normalize": False}}


# -- tokens -------------------------------------------------------------------------------------------------


def test_the_image_token_is_added_once_and_may_lie_past_the_vocabulary():
    tokenizer = build_tokenizer()
    length = len(tokenizer)
    processor = build_processor(tokenizer)
    assert processor.image_token_id == length == len(tokenizer) - 1
    assert build_processor(tokenizer).image_token_id == length
    word = tokenizer("cat")["input_ids"]
    assert processor.decode([length, *word, length], skip_special_tokens=True) == "cat"


def test_a_tokenizers_own_image_token_is_used():
    tokenizer = build_tokenizer(("<|pad_of_images|>",), extra_special_tokens={"image_token": "<|pad_of_images|>"})
    processor = build_processor(tokenizer)
    assert processor.image_token == "<|pad_of_images|>"
    assert sum(processor(images=picture(), text="<|pad_of_images|>")["mm_token_type_ids"][0]) == TOKENS
    with_both = build_tokenizer(("<other>", "<image>"), extra_special_tokens={"image_token": "<other>"})
    assert build_processor(with_both).image_token == "<image>"
    assert build_processor(image_token="<img>").image_token == "<img>"


def test_post_processors_of_the_tokenizer_still_apply():
    processor = build_processor(build_tokenizer(adds_bos=True))
    ids = processor(images=picture(), text="<image>a")["input_ids"][0]
    assert ids[: TOKENS + 1] == [2] + [processor.image_token_id] * TOKENS


def test_decoding():
    outputs = PROCESSOR(images=PICTURES, text=TEXTS, padding=True, return_tensors="pt")
    plain = [text.replace("<image>", "") for text in TEXTS]
    assert PROCESSOR.batch_decode(outputs["input_ids"], skip_special_tokens=True) == plain
    assert PROCESSOR.post_process_image_text_to_text(outputs["input_ids"]) == plain


def test_replacement_offsets():
    outputs = PROCESSOR(images=PICTURES, text=TEXTS, return_text_replacement_offsets=True)
    for text, row in zip(TEXTS, outputs["text_replacement_offsets"], strict=True):
        expanded = text.replace("<image>", "<image>" * TOKENS)
        assert len(row) == text.count("<image>")
        for entry in row:
            assert text[slice(*entry["span"])] == entry["text"] == "<image>"
            assert expanded[slice(*entry["new_span"])] == entry["replacement"] == "<image>" * TOKENS
    pixels = PROCESSOR(images=picture(), text="<image>")
    assert PROCESSOR.replace_image_token(pixels, 0) == "<image>" * TOKENS


# -- from a model's configuration ---------------------------------------------------------------------------


def model_config(image_token_id, **geometry):
    return SimpleNamespace(
        image_token_id=image_token_id,
        image_token_geometry=lambda: {"patch_size": 6, "num_prefix_tokens": 1, "select_strategy": "full", **geometry},
    )


def test_geometry_comes_from_the_models_configuration():
    tokenizer = build_tokenizer()
    config = model_config(len(tokenizer), rounding="ceil", patch_size=(6, 4))
    processor = WingsProcessor.from_model_config(config, clip_images(), tokenizer)
    assert sum(processor(images=picture(), text="<image>")["mm_token_type_ids"][0]) == 3 * 5 + 1
    other = WingsProcessor.from_model_config(config, clip_images(), tokenizer, vision_feature_select_strategy="default")
    assert other.vision_feature_select_strategy == "default"


def test_a_reserved_token_can_be_the_image_token():
    tokenizer = build_tokenizer(("<reserved_0>", "<reserved_1>"))
    config = model_config(tokenizer.convert_tokens_to_ids("<reserved_1>"))
    processor = WingsProcessor.from_model_config(config, clip_images(), tokenizer)
    assert processor.image_token == "<reserved_1>"
    assert processor.image_token_id == config.image_token_id


def test_another_image_token_id_raises():
    tokenizer = build_tokenizer()
    length = len(tokenizer)
    with pytest.raises(ValueError, match=f"<image> has the id {length}, the model's image_token_id is {length + 7}"):
        WingsProcessor.from_model_config(model_config(length + 7), clip_images(), tokenizer)


# -- saving -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [None, CHATML, {"default": CHATML, "tool_use": CHATML + "tools"}])
def test_round_trip(tmp_path, template):
    processor = build_processor(
        build_tokenizer(chat_template=template),
        patch_size=(6, 9),
        vision_feature_select_strategy="full",
        num_additional_image_tokens=3,
        feature_map_rounding="ceil",
        image_token="<img>",
    )
    processor.save_pretrained(tmp_path / "one")
    loaded = WingsProcessor.from_pretrained(tmp_path / "one")
    loaded.save_pretrained(tmp_path / "two")
    again = WingsProcessor.from_pretrained(tmp_path / "two")
    for other in (loaded, again):
        assert other.chat_template == processor.chat_template
        assert other.image_token_id == processor.image_token_id
        assert other.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        expected = {**processor.to_dict(), "patch_size": [6, 9]}
        assert other.to_dict() == expected
    files = {path.name for path in (tmp_path / "one").iterdir() if path.is_file()}
    assert files == {path.name for path in (tmp_path / "two").iterdir() if path.is_file()}
    for name in files - {"tokenizer_config.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    arguments = {"images": PICTURES, "text": [text.replace("<image>", "<img>") for text in TEXTS], "padding": True}
    first, second = processor(**arguments, return_tensors="pt"), again(**arguments, return_tensors="pt")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_parts_load_by_themselves(tmp_path):
    processor = build_processor()
    processor.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_tokens_to_ids("<image>") == processor.image_token_id
    image_processor = type(processor.image_processor).from_pretrained(tmp_path)
    assert image_processor.to_dict() == processor.image_processor.to_dict()
