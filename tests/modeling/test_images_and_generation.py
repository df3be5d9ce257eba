# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From pixels to logits, gradients on the way back, and `generate` against full recomputation."""

import copy

import pytest
import torch
from tiny import VISION_WIDTH, relative_error, tiny_model
from torch import Tensor
from transformers import GenerationMixin

from oracle import WingsOracle
from wings_hf import WingsForCausalLM

PATCHES = 9  # per image of a tiny tower
TOWERS = ("siglip", "clip")


def image_ids(model: WingsForCausalLM, *layouts: str) -> dict[str, Tensor]:
    """Token ids for layouts in which ``I`` is a whole image, ``t`` text, ``.`` padding (shorter rows end in it)."""
    rows, generator = [], torch.Generator().manual_seed(3)
    for layout in layouts:
        row: list[int] = []
        for kind in layout:
            if kind == "I":
                row += [model.config.image_token_id] * PATCHES
            else:
                row.append(0 if kind == "." else int(torch.randint(3, 99, (1,), generator=generator)))
        rows.append(row)
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    types = (ids == model.config.image_token_id).long()
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "mm_token_type_ids": types}


def pixels(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def projector_weights(model: WingsForCausalLM) -> dict[str, Tensor]:
    """Float64 leaves with the projector's weights."""
    named = model.model.multi_modal_projector.named_parameters()
    return {name: parameter.detach().double().requires_grad_() for name, parameter in named}


def projected_features(
    model: WingsForCausalLM, pixel_values: Tensor, w: dict[str, Tensor], layer: int = -2, prefix: int = 0
) -> Tensor:
    """The tower's hidden state of one layer without its prefix tokens, through two linear maps; (images, 9, d)."""
    with torch.no_grad():
        tower = copy.deepcopy(model.model.vision_tower).double()
        hidden = tower(pixel_values.double(), output_hidden_states=True).hidden_states[layer][:, prefix:]
    hidden = torch.nn.functional.gelu(hidden @ w["linear_1.weight"].T + w["linear_1.bias"])
    return hidden @ w["linear_2.weight"].T + w["linear_2.bias"]


def merged_embeddings(model: WingsForCausalLM, inputs: dict[str, Tensor], features: Tensor) -> Tensor:
    """Text embeddings with image features put in their places, in reading order over the rows; (b, s, d)."""
    embeds = model.get_input_embeddings()(inputs["input_ids"].clamp(max=98)).detach().double()
    flat = iter(features.flatten(0, 1))
    for b, s in inputs["mm_token_type_ids"].nonzero().tolist():
        embeds[b, s] = next(flat)
    assert next(flat, None) is None
    return embeds


# ---- pixels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [-2, -1, 1])
@pytest.mark.parametrize("tower", TOWERS)
def test_pixels_to_logits(tower, layer):
    """Image first, last, adjacent, none; the class token of CLIP is dropped."""
    model = tiny_model("llama", "sdpa", vision=tower, vision_feature_layer=layer, learner_rope=True)
    inputs = image_ids(model, "IttIIt", "ttttt", "ttI")
    pixel_values = pixels(4)
    with torch.no_grad():
        logits = model(**inputs, pixel_values=pixel_values).logits
        weights = projector_weights(model)
        features = projected_features(model, pixel_values, weights, layer, prefix=int(tower == "clip"))
        embeds = merged_embeddings(model, inputs, features)
        oracle = WingsOracle(model.config, model.state_dict())
        wanted = oracle(embeds, None, inputs["mm_token_type_ids"], inputs["attention_mask"]).logits
    real = inputs["attention_mask"].bool()
    assert relative_error(logits[real], wanted[real]) < 1e-5


def test_full_strategy_and_several_layers():
    """``full`` keeps the class token; several layers are concatenated in the order given."""
    model = tiny_model("llama", vision="clip", vision_feature_select_strategy="full", vision_feature_layer=[-1, 0])
    assert model.config.vision_feature_size == 2 * VISION_WIDTH
    with torch.no_grad():
        states = model.model.vision_tower(pixels(2), output_hidden_states=True).hidden_states
        features = model.get_image_features(pixels(2)).pooler_output
        expected = model.model.multi_modal_projector(torch.cat([states[-1], states[0]], dim=-1))
    assert len(features) == 2
    assert features[0].shape == (PATCHES + 1, 32)
    assert relative_error(torch.stack(list(features)), expected) < 1e-6


def test_modality_is_read_off_the_ids():
    model = tiny_model("llama", "sdpa", vision="siglip")
    inputs = image_ids(model, "tIttI", "ttttttIttIt")
    pixel_values = pixels(4)
    with torch.no_grad():
        given = model(**inputs, pixel_values=pixel_values).logits
        del inputs["mm_token_type_ids"]
        assert torch.equal(model(**inputs, pixel_values=pixel_values).logits, given)


def test_the_right_image_in_the_right_place():
    """Exchanging two images exchanges what is read at their places."""
    model = tiny_model("llama", "sdpa", vision="siglip")
    inputs = image_ids(model, "tIt", "tIt")
    with torch.no_grad():
        one = model(**inputs, pixel_values=pixels(2)).image_hidden_states
        two = model(**inputs, pixel_values=pixels(2).flip(0)).image_hidden_states
    assert relative_error(one[0], two[1]) < 1e-6
    assert relative_error(one[0], two[0]) > 1e-2


def test_features_instead_of_pixels_where_there_is_no_tower():
    model = tiny_model("llama", "sdpa")
    inputs = image_ids(model, "tIt")
    features = torch.randn(1, PATCHES, VISION_WIDTH)
    with torch.no_grad():
        logits = model(**inputs, pixel_values=features).logits
        embeds = merged_embeddings(model, inputs, model.model.multi_modal_projector(features).double()).float()
        wanted = model(inputs_embeds=embeds, mm_token_type_ids=inputs["mm_token_type_ids"]).logits
    assert relative_error(logits, wanted) < 1e-6


@pytest.mark.parametrize("images", [1, 3])
def test_images_and_placeholders_must_match(images):
    model = tiny_model("llama", vision="siglip")
    inputs = image_ids(model, "tIIt")
    with pytest.raises(Exception, match=f"(?s)18.*{PATCHES * images}"):
        model(**inputs, pixel_values=pixels(images))


def test_placeholders_without_images_are_refused():
    model = tiny_model("llama", vision="siglip")
    with pytest.raises(Exception, match="tokens"):
        model(**image_ids(model, "tIt"))


@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_reach_projector_tower_and_embeddings(freeze):
    """The learners of all layers read the projected features and the embeddings too."""
    model = tiny_model("llama", "sdpa", vision="siglip", freeze_vision_tower=freeze)
    inputs = image_ids(model, "tIt", "tttIt")
    real = inputs["attention_mask"].unsqueeze(-1)
    (model(**inputs, pixel_values=pixels(2)).logits * real).sin().sum().backward()
    tower = [p.grad for p in model.model.vision_tower.encoder.layers[0].parameters()]
    assert all(g is None for g in tower) if freeze else all(g is not None and g.any() for g in tower)

    weights = projector_weights(model)
    features = projected_features(model, pixels(2), weights)
    embeds = merged_embeddings(model, inputs, features)
    embeds.retain_grad()
    oracle = WingsOracle(model.config, model.state_dict())
    logits = oracle(embeds, None, inputs["mm_token_type_ids"], inputs["attention_mask"]).logits
    (logits * real).sin().sum().backward()
    for name, parameter in model.model.multi_modal_projector.named_parameters():
        assert relative_error(parameter.grad, weights[name].grad) < 1e-5, name
    wanted = torch.zeros(99, 32, dtype=torch.float64)
    is_text = inputs["mm_token_type_ids"] == 0
    wanted.index_add_(0, inputs["input_ids"][is_text], embeds.grad[is_text])
    assert relative_error(model.get_input_embeddings().weight.grad[1:], wanted[1:]) < 1e-5  # 0 is padding


def test_every_parameter_is_trained_by_a_batch_with_an_image():
    """No parameter is left without a gradient, but what the chosen tower layer does not use."""
    model = tiny_model("llama", "sdpa", vision="siglip", freeze_vision_tower=False, vision_feature_layer=-1)
    inputs = image_ids(model, "ttIttt", "IttIt")
    model(**inputs, pixel_values=pixels(3), labels=inputs["input_ids"].clamp(max=98)).loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in idle if "post_layernorm" not in name] == []


# ---- generate ------------------------------------------------------------------------------------------------------

GENERATE_CASES = (
    ("llama", "sdpa", {"router": "position", "learner_rope": True}),
    ("llama", "eager", {"router": "modality", "learner_scope": "visual_context"}),
    ("mistral", "sdpa", {"router": "modality", "learner_rope": True}),
    ("gemma3_text", "sdpa", {"router": "position", "learner_query": "post_attention", "learner_rope": True}),
    ("llama", "sdpa", {"learners": ("visual",)}),
)
NEW_TOKENS = 6


def left_padded(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Moves each row's padding to its left, as decoders generate."""
    order = inputs["attention_mask"].argsort(dim=-1, stable=True)
    return {name: value.gather(-1, order) for name, value in inputs.items()}


@torch.no_grad()
def greedy(model: WingsForCausalLM, inputs: dict[str, Tensor], pixel_values: Tensor | None) -> Tensor:
    """Greedy decoding by full recomputation, without a cache; the image placeholder is never chosen."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for _ in range(NEW_TOKENS):
        types = (ids == model.config.image_token_id).long()
        arguments = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types}
        logits = model(**arguments, pixel_values=pixel_values, use_cache=False).logits[:, -1]
        if model.config.image_token_id < logits.shape[-1]:
            logits[:, model.config.image_token_id] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    return ids[:, -NEW_TOKENS:]


def generate(model: WingsForCausalLM, inputs: dict[str, Tensor], **kwargs) -> Tensor:
    settings = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "eos_token_id": None, "pad_token_id": 0}
    output = model.generate(**inputs, **{**settings, **kwargs})
    return output[:, -NEW_TOKENS:]


@pytest.mark.parametrize("cache", [None, "static"])
@pytest.mark.parametrize("case", GENERATE_CASES, ids=str)
def test_greedy_generation_equals_recomputation(case, cache):
    family, backend, options = case
    model = tiny_model(family, backend, vision="siglip", **options)
    inputs = left_padded(image_ids(model, "tIttI", "ttttt", "Itt"))
    expected = greedy(model, inputs, pixels(3))
    settings = {} if cache is None else {"cache_implementation": cache, "disable_compile": True}
    assert torch.equal(generate(model, inputs, pixel_values=pixels(3), **settings), expected)
    assert len(expected.unique()) > 4  # not a model that repeats itself whatever it sees


def test_generation_from_text_alone():
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=True)
    inputs = left_padded(image_ids(model, "ttttt", "ttt"))
    assert torch.equal(generate(model, inputs), greedy(model, inputs, None))


@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_from_embeddings(use_cache):
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=True)
    inputs = image_ids(model, "tIttI")
    with torch.no_grad():
        features = torch.stack(list(model.get_image_features(pixels(2)).pooler_output))
        embeds = merged_embeddings(model, inputs, features.double()).float()
    types = inputs["mm_token_type_ids"]
    lengths = []
    model.register_forward_pre_hook(lambda module, args, kwargs: lengths.append(_tokens(kwargs)), with_kwargs=True)
    output = generate(model, {"inputs_embeds": embeds, "mm_token_type_ids": types}, use_cache=use_cache)
    length = types.shape[1]
    assert lengths == [length, *([1] * 5 if use_cache else range(length + 1, length + 6))]
    assert torch.equal(output, greedy(model, inputs, pixels(2)))


def _tokens(arguments: dict[str, Tensor]) -> int:
    given = arguments.get("inputs_embeds")
    return (arguments["input_ids"] if given is None else given).shape[1]


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}], ids=str)
def test_beam_search_does_not_depend_on_the_cache(settings):
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=True)
    inputs = left_padded(image_ids(model, "tIttI", "ttttt"))
    with_cache = generate(model, inputs, pixel_values=pixels(2), **settings)
    without = generate(model, inputs, pixel_values=pixels(2), use_cache=False, **settings)
    assert torch.equal(with_cache, without)


def test_beam_search_from_embeddings_and_images():
    """The placeholder's id may lie past the embedding, so the rows' images are counted by their types."""
    model = tiny_model("llama", "sdpa", vision="siglip")
    assert model.config.image_token_id >= model.config.text_config.vocab_size
    inputs = left_padded(image_ids(model, "tIttI", "ttttt", "Itt"))
    expected = generate(model, inputs, pixel_values=pixels(3), num_beams=3)
    types = inputs.pop("mm_token_type_ids")
    embeds = model.get_input_embeddings()(inputs.pop("input_ids").masked_fill(types == 1, 0))
    inputs |= {"inputs_embeds": embeds.detach(), "mm_token_type_ids": types}
    assert torch.equal(generate(model, inputs, pixel_values=pixels(3), num_beams=3), expected)


@pytest.mark.skipif(
    not hasattr(GenerationMixin, "_expand_multimodal_outputs"),
    reason="this version of transformers hands all images to the first chunk",
)
def test_chunked_prefill_in_generate():
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=True)
    inputs = left_padded(image_ids(model, "tIttI", "ttttt"))
    expected = greedy(model, inputs, pixels(2))
    assert torch.equal(generate(model, inputs, pixel_values=pixels(2), prefill_chunk_size=5), expected)


def test_a_second_turn_brings_the_first_image():
    """The first turn's cache goes into the second ``generate`` call, which brings an image."""
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=True)
    first = image_ids(model, "ttttt")
    result = model.generate(
        **first, do_sample=False, max_new_tokens=4, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True
    )
    ids = torch.cat([result.sequences, image_ids(model, "tItt")["input_ids"]], dim=1)
    second = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).long(),
    }
    expected = greedy(model, second, pixels(1))
    output = generate(model, second, pixel_values=pixels(1), past_key_values=result.past_key_values)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("image_token_id", [None, 57])
def test_the_placeholder_is_never_generated(image_token_id):
    """Past the vocabulary or inside it; also where it would be the most likely token."""
    model = tiny_model("llama", "sdpa", vision="siglip", image_token_id=image_token_id)
    if image_token_id is not None:
        with torch.no_grad():
            model.lm_head.weight[image_token_id] = 0
            model.lm_head.weight[image_token_id, 0] = 100.0
            model.lm_head.weight[:, 0] *= -1
    inputs = image_ids(model, "tItt")
    inputs["input_ids"][inputs["mm_token_type_ids"] == 0] = 5
    output = generate(model, inputs, pixel_values=pixels(1), max_new_tokens=8)
    assert not (output == model.config.image_token_id).any()
    assert output.max() < 99
