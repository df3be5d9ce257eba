# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The masses of Wings' main branch, with and without learners, against eager attention tensors."""

import numpy as np
import pytest
import torch
from eager_masses import masses_of_samples
from tiny import tiny_inputs, tiny_model
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from wings_hf.analysis import AttentionMeter, measure_attention
from wings_hf.analysis.calls import watch_attention

LAYOUTS = ("tttvvvtttt", "ttvvtvvtt.", "..tvvvvttt")
DEEP = {"num_hidden_layers": 4}
OPTIONS = {
    "plain": {"learners": ()},
    "stage 1": {"learners": ("visual",)},
    "position": {"router": "position"},
    "modality": {"router": "modality"},
    "exact": {"learner_scope": "visual_context"},
    "post": {"learner_query": "post_attention", "learner_rope": True},
    "some layers": {"learner_layers": (1, 2)},
}
FAMILIES = ("gemma2", "gemma3_text", "mistral", "gpt_oss", "deepseek_v3", "phi3")


@torch.no_grad()
def eager_weights(model: torch.nn.Module, inputs: dict, **options) -> tuple[torch.Tensor, ...]:
    """All attention weights of a model of the same weights with eager attention."""
    reference = tiny_model(attn_implementation="eager", **options)
    reference.load_state_dict(model.state_dict())
    return reference(**inputs, output_attentions=True, use_cache=False).attentions


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", OPTIONS)
def test_masses_agree_with_eager_attention(name, backend):
    options = {**OPTIONS[name], "text": DEEP}
    model = tiny_model(attn_implementation=backend, **options)
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    laws = measure_attention(model, [inputs], per_head=True)
    expected = masses_of_samples(eager_weights(model, inputs, **options), LAYOUTS)
    np.testing.assert_allclose(laws.head_masses, expected.mean(0), atol=1e-6)
    np.testing.assert_allclose(laws.masses, expected.mean((0, 2)), atol=1e-6)
    assert (laws.samples, laws.rows, laws.skipped) == (3, 27, {})


def test_masses_agree_under_the_released_semantics():
    options = {"semantics": "released", "text": DEEP}
    layouts = ("tttvvvtttt", "..tvvvvttt")
    model = tiny_model(attn_implementation="sdpa", **options)
    inputs = tiny_inputs(model, *layouts).kwargs()
    expected = masses_of_samples(eager_weights(model, inputs, **options), layouts).mean((0, 2))
    np.testing.assert_allclose(measure_attention(model, [inputs]).masses, expected, atol=1e-6)


@pytest.mark.parametrize("learners", [(), ("visual", "textual")])
@pytest.mark.parametrize("family", FAMILIES)
def test_sliding_windows_soft_caps_sinks_and_narrow_values(family, learners):
    backend = "eager" if family in ("gemma2", "gpt_oss") else "sdpa"
    options = {"family": family, "learners": learners, "learner_rope": False}
    model = tiny_model(attn_implementation=backend, **options)
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    weights = eager_weights(model, inputs, **options)
    laws = measure_attention(model, [inputs], per_head=True)
    np.testing.assert_allclose(laws.head_masses, masses_of_samples(weights, LAYOUTS).mean(0), atol=1e-6)
    if family == "gpt_oss":
        assert laws.masses.sum(1).max() < 0.9  # what the sinks take belongs to no token
    else:
        np.testing.assert_allclose(laws.masses.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_oss"])
def test_eager_attention_goes_in_chunks_of_rows(family, monkeypatch):
    model = tiny_model(family, learners=())
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    whole = measure_attention(model, [inputs])
    monkeypatch.setattr("wings_hf.analysis.calls.ROWS_AT_ONCE", 3)
    with SizesOfSoftmax() as softmax:
        laws = measure_attention(model, [inputs])
    assert max(softmax.rows) == 3
    np.testing.assert_allclose(laws.masses, whole.masses, atol=1e-6)


class SizesOfSoftmax(TorchFunctionMode):
    """Notes how many query rows each softmax over (b, H, s, t) has."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.softmax and args[0].ndim == 4:
            self.rows.append(args[0].shape[2])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_the_model_computes_the_same_bits_while_watched_and_is_left_as_it_was(backend, options):
    model = tiny_model(attn_implementation=backend, **options)
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    with torch.no_grad():
        alone = model(**inputs, use_cache=False).logits
    calls = []
    with watch_attention(model, calls.append), torch.no_grad():
        assert torch.equal(model(**inputs, use_cache=False).logits, alone)
    assert [call.layer for call in calls] == [0, 1]

    model.train().model.language_model.layers[1].mlp.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    configs = {name: getattr(module, "config", None) for name, module in model.named_modules()}
    with pytest.raises(RuntimeError, match="stop"), AttentionMeter(model) as meter:
        meter.update(inputs)
        assert not any(module.training for module in model.modules())
        raise RuntimeError("stop")
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(getattr(module, "config", None) is configs[name] for name, module in model.named_modules())
    assert not any("backbone_class" in vars(module) for module in model.modules())
    assert meter.laws().samples == 3


def test_replaced_projections_are_measured():
    class Doubled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, states):
            return 2 * self.inner(states)

    def replace(model):
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj = Doubled(layer.self_attn.q_proj)
        return model

    options = {"learners": (), "text": DEEP}
    model = replace(tiny_model(attn_implementation="sdpa", **options))
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    with torch.no_grad():
        reference = replace(tiny_model(**options))
        weights = reference(**inputs, output_attentions=True, use_cache=False).attentions
    expected = masses_of_samples(weights, LAYOUTS).mean((0, 2))
    laws = measure_attention(model, [inputs])
    np.testing.assert_allclose(laws.masses, expected, atol=1e-6)
    plain = measure_attention(tiny_model(attn_implementation="sdpa", **options), [inputs])
    assert np.abs(plain.masses - laws.masses).max() > 0.01


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
def test_through_peft(options):
    peft = pytest.importorskip("peft")
    model = tiny_model(attn_implementation="sdpa", **options)
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    alone = measure_attention(model, [inputs])
    config = peft.LoraConfig(target_modules=r".*self_attn\.[qkv]_proj", init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config)
    laws = measure_attention(wrapped, [inputs])
    assert laws.samples == 3 and np.abs(laws.masses - alone.masses).max() > 1e-4
    with wrapped.disable_adapter():
        np.testing.assert_allclose(measure_attention(wrapped, [inputs]).masses, alone.masses, atol=1e-6)


@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
def test_many_batches_are_one_batch_and_padding_counts_for_nothing(options):
    model = tiny_model(attn_implementation="sdpa", text=DEEP, **options)
    together = measure_attention(model, [tiny_inputs(model, *LAYOUTS).kwargs()], per_head=True)
    right = tiny_inputs(model, *[layout.strip(".").ljust(13, ".") for layout in LAYOUTS])
    left = tiny_inputs(model, *[layout.strip(".").rjust(13, ".") for layout in LAYOUTS])
    for inputs, cut in ((right, slice(0, 10)), (right, slice(0, 13)), (left, slice(3, 13)), (left, slice(0, 13))):
        rows = [
            {name: values[row : row + 1, cut] for name, values in inputs.kwargs().items()}
            for row in range(len(LAYOUTS))
        ]
        alone = measure_attention(model, rows, per_head=True)
        np.testing.assert_allclose(alone.head_masses, together.head_masses, atol=1e-6)
        assert alone.sample_shift == pytest.approx(together.sample_shift, abs=1e-4)
        assert (alone.samples, alone.rows) == (together.samples, together.rows)


@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
def test_packed_samples_are_samples(options):
    model = tiny_model(attn_implementation="sdpa", **options)
    layouts = ("ttvvttt", "tvvtt")
    apart = [tiny_inputs(model, layout, seed=seed) for seed, layout in enumerate(layouts)]
    alone = measure_attention(model, [inputs.kwargs() for inputs in apart])
    packed = {
        name: torch.cat([inputs.kwargs(mask=False)[name] for inputs in apart], dim=1)
        for name in ("inputs_embeds", "mm_token_type_ids")
    }
    packed["position_ids"] = torch.cat([torch.arange(len(layout)) for layout in layouts]).unsqueeze(0)
    together = measure_attention(model, [packed])
    assert together.samples == 2
    np.testing.assert_allclose(together.masses, alone.masses, atol=1e-6)


class LargestTensor(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for each in torch.utils._pytree.tree_leaves(made):
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.numel())
        return made


@pytest.mark.parametrize("options", [{"learners": ()}, {"router": "modality"}], ids=["plain", "wings"])
def test_no_attention_matrix_is_made(options):
    model = tiny_model(attn_implementation="sdpa", text={"max_position_embeddings": 1024}, **options)
    inputs = tiny_inputs(model, "t" * 100 + "v" * 300 + "t" * 400).kwargs(mask=False)
    with LargestTensor() as largest:
        laws = measure_attention(model, [inputs])
    assert laws.rows == 800 and largest.elements < 800 * 800 / 4


def test_a_batch_that_does_not_reach_every_layer_is_an_error():
    model = tiny_model(attn_implementation="sdpa", learners=())
    inputs = tiny_inputs(model, "tvvt").kwargs()
    model.model.language_model.layers = model.model.language_model.layers[:1]
    with AttentionMeter(model) as meter:
        meter.layers = 2
        with pytest.raises(ValueError, match=r"layers \[1\] was not called"):
            meter.update(inputs)
    with AttentionMeter(model) as meter, pytest.raises(ValueError, match="called twice"):
        model.model.language_model.layers.append(model.model.language_model.layers[0])
        model.model.language_model.config.num_hidden_layers = 2
        meter.update(inputs)


@pytest.mark.parametrize("learners", [(), ("visual", "textual")])
def test_a_meter_leaves_room_for_another_and_then_closes(learners):
    model = tiny_model(attn_implementation="sdpa", learners=learners)
    inputs = tiny_inputs(model, "ttvvvtt").kwargs()
    with AttentionMeter(model) as meter:
        meter.update(inputs)
        within = measure_attention(model, [inputs])
        meter.update(inputs)
    np.testing.assert_array_equal(within.masses, meter.laws().masses)
    assert meter.laws().samples == 2
    with pytest.raises(RuntimeError, match="not open"):
        meter.update(inputs)


@pytest.mark.slow  # compiles kernels
@pytest.mark.filterwarnings("default::DeprecationWarning")  # transformers' and torch's own, when they compile
@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
def test_flex_attention(options):
    options = {"text": {"hidden_size": 64, "head_dim": 16}, **options}
    model = tiny_model(attn_implementation="flex_attention", **options)
    inputs = tiny_inputs(model, *LAYOUTS).kwargs()
    expected = masses_of_samples(eager_weights(model, inputs, **options), LAYOUTS).mean((0, 2))
    np.testing.assert_allclose(measure_attention(model, [inputs]).masses, expected, atol=1e-6)
