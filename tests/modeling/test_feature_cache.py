# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The cache of image features: the same bits as without it, and nothing computed twice; where the tower runs."""

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from test_images_and_generation import image_ids, pixels
from tiny import tiny_model
from torch import Tensor
from transformers import GenerationMixin

from wings_hf import WingsForCausalLM
from wings_hf.modeling.wings_feature_cache import ImageFeatureCache, image_keys

ENCODES_AHEAD = hasattr(GenerationMixin, "_prepare_multimodal_encoder_kwargs_for_generation")
NEEDS_ENCODING_AHEAD = {"num_beams", "num_return_sequences", "prefill_chunk_size", "use_cache"}


class TowerCalls:
    """Images in each call of a model's vision tower, in order."""

    def __init__(self, model: WingsForCausalLM):
        self.images: list[int] = []
        model.model.vision_tower.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module, args, kwargs) -> None:
        self.images.append(len(args[0] if args else kwargs["pixel_values"]))


@pytest.fixture
def model() -> Iterator[WingsForCausalLM]:
    yield tiny_model("llama", "sdpa", vision="siglip", text={"eos_token_id": None})


@torch.no_grad()
def logits(model: WingsForCausalLM, pixel_values: Tensor, *layouts: str) -> Tensor:
    return model(**image_ids(model, *layouts), pixel_values=pixel_values).logits


# ---- where the tower runs ------------------------------------------------------------------------------------------


def test_one_tower_call_for_all_images_of_a_batch(model):
    calls = TowerCalls(model)
    logits(model, pixels(4), "IttIIt", "tttt", "ttI")
    assert calls.images == [4]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_beams": 3},
        {"num_return_sequences": 3, "do_sample": True},
        {"prompt_lookup_num_tokens": 2},
        {"prefill_chunk_size": 5},
        {"cache_implementation": "static", "disable_compile": True},
        {"use_cache": False},
    ],
    ids=lambda arguments: next(iter(arguments), "greedy"),
)
def test_one_tower_call_for_a_call_of_generate(model, arguments):
    if arguments.keys() & NEEDS_ENCODING_AHEAD and not ENCODES_AHEAD:
        pytest.skip("this version of transformers encodes images in each call of the model")
    rows = 1 if "prompt_lookup_num_tokens" in arguments else 2
    inputs = image_ids(model, *("ItIt", "tItI")[:rows])
    calls = TowerCalls(model)
    model.generate(**inputs, pixel_values=pixels(2 * rows), max_new_tokens=6, **{"do_sample": False, **arguments})
    assert calls.images == [2 * rows]


def test_one_tower_call_for_each_of_two_models_that_generate_together(model):
    assistant = tiny_model("llama", "sdpa", vision="siglip", text={"eos_token_id": None})
    calls, assistant_calls = TowerCalls(model), TowerCalls(assistant)
    inputs = image_ids(model, "ItIt")
    model.generate(**inputs, pixel_values=pixels(2), assistant_model=assistant, max_new_tokens=8, do_sample=False)
    assert calls.images == [2]
    assert len(assistant_calls.images) <= 1  # none where it is handed the other's features


def test_a_second_turn_on_the_cache_encodes_new_images_only(model):
    calls = TowerCalls(model)
    first = image_ids(model, "Itt")
    turn = model.generate(
        **first, pixel_values=pixels(1), max_new_tokens=3, do_sample=False, return_dict_in_generate=True
    )
    assert calls.images == [1]
    ids = torch.cat([turn.sequences, image_ids(model, "tt")["input_ids"]], dim=1)
    turn = model.generate(
        ids, past_key_values=turn.past_key_values, max_new_tokens=3, do_sample=False, return_dict_in_generate=True
    )
    assert calls.images == [1]
    ids = torch.cat([turn.sequences, image_ids(model, "tIIt")["input_ids"]], dim=1)
    model.generate(
        ids, past_key_values=turn.past_key_values, pixel_values=pixels(2, seed=1), max_new_tokens=3, do_sample=False
    )
    assert calls.images == [1, 2]


# ---- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", ["siglip", "clip"])
def test_same_bits_and_no_second_run(tower):
    model = tiny_model("llama", "sdpa", vision=tower)
    pixel_values = pixels(3)
    expected = logits(model, pixel_values, "ItIt", "ttI")
    features = model.get_image_features(pixel_values)
    model.cache_image_features()
    calls = TowerCalls(model)
    for _ in range(3):
        assert torch.equal(logits(model, pixel_values, "ItIt", "ttI"), expected)
    assert calls.images == [3]
    with torch.no_grad():
        cached = model.get_image_features(pixel_values)
    assert calls.images == [3]
    assert torch.equal(cached.last_hidden_state, features.last_hidden_state)
    assert all(map(torch.equal, cached.pooler_output, features.pooler_output))
    assert isinstance(cached.pooler_output, list)


def test_same_ids_from_generate(model):
    inputs, pixel_values = image_ids(model, "ItIt"), pixels(2)
    expected = model.generate(**inputs, pixel_values=pixel_values, max_new_tokens=6, do_sample=False)
    model.cache_image_features()
    calls = TowerCalls(model)
    for _ in range(2):
        ids = model.generate(**inputs, pixel_values=pixel_values, max_new_tokens=6, do_sample=False)
        assert torch.equal(ids, expected)
    assert calls.images == [2]


@pytest.mark.parametrize("arguments", [{"num_beams": 3}, {"use_cache": False}], ids=["beams", "no cache"])
def test_the_cache_does_where_generate_does_not(model, arguments):
    """Whatever the version: beams and steps without a cache see each image once."""
    inputs = image_ids(model, "It")
    expected = model.generate(**inputs, pixel_values=pixels(1), max_new_tokens=4, do_sample=False, **arguments)
    model.cache_image_features()
    calls = TowerCalls(model)
    ids = model.generate(**inputs, pixel_values=pixels(1), max_new_tokens=4, do_sample=False, **arguments)
    assert torch.equal(ids, expected) and calls.images == [1]


def test_known_and_new_images_in_one_batch(model):
    a, b, c = pixels(3).split(1)
    alone = [logits(model, image, "I") for image in (a, b, c)]
    model.cache_image_features()
    calls = TowerCalls(model)
    logits(model, b, "It")
    batch = logits(model, torch.cat([a, b, a, c]), "I", "I", "I", "I")
    assert calls.images == [1, 2]  # b; then a and c, a once
    for row, expected in zip(batch, (alone[0], alone[1], alone[0], alone[2]), strict=True):
        torch.testing.assert_close(row, expected[0], rtol=1e-5, atol=1e-5)
    assert model.model.image_feature_cache.hits == 2


def test_the_one_not_asked_for_longest_goes_first(model):
    model.cache_image_features(max_images=2)
    calls = TowerCalls(model)
    a, b, c = pixels(3).split(1)
    for image in (a, b, a, c):  # c pushes b out
        logits(model, image, "It")
    assert calls.images == [1, 1, 1] and len(model.model.image_feature_cache) == 2
    logits(model, a, "It")
    assert calls.images == [1, 1, 1]
    logits(model, b, "It")
    assert calls.images == [1, 1, 1, 1]
    many = logits(model, torch.cat([a, b, c]), "III")  # more images than it keeps
    model.cache_image_features(None)
    torch.testing.assert_close(many, logits(model, torch.cat([a, b, c]), "III"), rtol=1e-5, atol=1e-5)


def test_bytes(model):
    model.cache_image_features()
    logits(model, pixels(2), "II")
    width = model.config.vision_config.hidden_size + model.config.text_config.hidden_size
    assert model.model.image_feature_cache.nbytes == 2 * 9 * width * 4
    model.model.image_feature_cache.clear()
    assert model.model.image_feature_cache.nbytes == 0


def step(model):
    parameter = model.model.multi_modal_projector.linear_2.weight
    parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD([parameter], lr=0.1).step()
    parameter.grad = None


def load(model):
    state = {name: weight + 0.1 for name, weight in model.model.vision_tower.state_dict().items()}
    model.model.vision_tower.load_state_dict(state)


def write(model):
    with torch.no_grad():
        model.model.vision_tower.get_input_embeddings().weight.mul_(1.5)


def move(model):
    model.to(torch.float64)


@pytest.mark.parametrize("change", [step, load, write, move])
def test_changed_weights_forget_everything(model, change):
    model.cache_image_features()
    before = logits(model, pixels(1), "It")
    change(model)
    after = logits(model, pixels(1), "It")
    assert not torch.equal(before.double(), after.double())
    model.cache_image_features(None)
    assert torch.equal(after, logits(model, pixels(1), "It"))


def test_changed_language_model_forgets_nothing(model):
    model.cache_image_features()
    calls = TowerCalls(model)
    logits(model, pixels(1), "It")
    with torch.no_grad():
        model.model.language_model.layers[0].self_attn.q_proj.weight.mul_(1.5)
    logits(model, pixels(1), "It")
    assert calls.images == [1]


def test_not_where_something_is_learned(model):
    model.cache_image_features()
    logits(model, pixels(1), "It")
    calls = TowerCalls(model)
    model(**image_ids(model, "It"), pixel_values=pixels(1)).logits.sum().backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad is not None
    model.train()
    logits(model, pixels(1), "It")
    assert calls.images == [1, 1]
    model.eval()
    with torch.no_grad():
        outputs = model.get_image_features(pixels(1), output_hidden_states=True)  # which it does not keep
    assert len(outputs.hidden_states) == 4 and calls.images == [1, 1, 1]


def test_what_a_caller_does_to_features_is_not_kept(model):
    model.cache_image_features()
    with torch.no_grad():
        for _ in range(2):
            outputs = model.get_image_features(pixels(1))
            kept = outputs.pooler_output[0].clone(), outputs.last_hidden_state.clone()
            outputs.pooler_output[0].zero_()
            outputs.last_hidden_state.zero_()
        outputs = model.get_image_features(pixels(1))
    assert torch.equal(outputs.pooler_output[0], kept[0]) and torch.equal(outputs.last_hidden_state, kept[1])


def test_under_inference_mode_and_autocast(model):
    expected = logits(model, pixels(1), "It")
    model.cache_image_features()
    calls = TowerCalls(model)
    with torch.autocast("cpu", torch.bfloat16):
        low = logits(model, pixels(1), "It")
    with torch.inference_mode():
        assert torch.equal(logits(model, pixels(1), "It"), expected)
    assert torch.equal(logits(model, pixels(1), "It"), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(logits(model, pixels(1), "It"), low)
    assert calls.images == [1, 1]


def test_a_model_without_a_tower():
    model = tiny_model("llama", "sdpa")
    features = torch.randn(1, 9, 20)
    expected = logits(model, features, "It")
    model.cache_image_features()
    for _ in range(2):
        assert torch.equal(logits(model, features, "It"), expected)
    assert model.model.image_feature_cache.hits == 1
    with pytest.raises(ValueError, match="expects features of shape"):
        logits(model, pixels(1), "It")


def test_saved_and_copied_without_features(model, tmp_path):
    expected = logits(model, pixels(1), "It")
    names = set(model.state_dict())
    model.cache_image_features(max_images=5)
    logits(model, pixels(1), "It")
    assert set(model.state_dict()) == names
    model.save_pretrained(tmp_path)
    loaded = WingsForCausalLM.from_pretrained(tmp_path).eval()
    assert loaded.model.image_feature_cache is None
    pickled = pickle.loads(pickle.dumps(model.model.image_feature_cache))
    assert len(pickled) == 0 and pickled.max_images == 5
    other = copy.deepcopy(model)
    cache = other.model.image_feature_cache
    assert len(cache) == 0 and cache.max_images == 5
    assert torch.equal(logits(other, pixels(1), "It"), expected)
    assert len(cache) == len(model.model.image_feature_cache) == 1


def test_keys_tell_images_apart():
    a, b = pixels(2)
    assert image_keys(torch.stack([a, b, a]))[0::2] == image_keys(torch.stack([a, a]))
    keys = {
        *image_keys(torch.stack([a, b])),
        *image_keys(a.view(1, 3, 24, 6)),
        *image_keys(a[None].bfloat16()),
        *image_keys(torch.zeros(1, 3, 12, 12)),
        *image_keys(torch.zeros(1, 3, 12, 12, dtype=torch.int32)),
    }
    assert len(keys) == 6


def test_too_small(model):
    with pytest.raises(ValueError, match="max_images=0: expected at least 1"):
        model.cache_image_features(0)
    assert len(ImageFeatureCache(1)) == 0
