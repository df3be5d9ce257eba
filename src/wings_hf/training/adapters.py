# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""LoRA, DoRA and QLoRA with peft: which modules of a Wings model get adapters, and which are trained and saved whole.

peft alone cannot know: target names such as `q_proj` are those of the vision tower too, learners are parameters and no
linear layers, and what is neither a target nor in `modules_to_save` is missing from a saved adapter.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D

from wings_hf.modeling.wings_backbone import find_winged
from wings_hf.training.stages import PARTS

LEARNERS = ("visual_learner", "textual_learner")
WINGS = ("projector", *LEARNERS, "router")
CHOOSERS = ("gate", "router", "shared_expert_gate")  # what picks experts in a mixture; left as it is
PLACES = {"language_model": "language_model", "vision_tower": "vision_tower", "projector": "multi_modal_projector"}


def wings_lora_config(
    model: Any,
    parts: Sequence[str] = ("language_model",),
    train_fully: Sequence[str] | None = None,
    **fields: Any,
) -> Any:
    """
    The `peft.LoraConfig` that adapts `parts` and trains `train_fully`; for `peft.get_peft_model` as it is.

    Args:
        model: a `WingsForCausalLM` with all the learners that it shall have; it may have adapters already.
        parts: parts that get adapters, of `wings_hf.training.stages.PARTS`: on every linear layer of the language
            model's blocks, the vision tower and the projector, and on all maps of the learners.
        train_fully: parts that are trained and saved whole, as peft's `modules_to_save`: by default the projector,
            the learners and the router, as far as the model has them and `parts` does not.
        fields: further fields of `LoraConfig` (`r`, `lora_alpha`, `use_dora`, ...). `target_modules`, a list of layer
            names such as `["q_proj", "v_proj"]`, narrows the layers within `parts`; `modules_to_save` and
            `target_parameters` add to what is made here.

    Raises:
        ValueError: a part that does not exist or this model has not got, one that is to be both adapted and trained
            fully, or that has nothing to adapt.

    Warns where the adapter could not be loaded from what it will name as its base: a model that was not saved yet, or
    got learners or tokens since.
    """
    from peft import LoraConfig

    model = _without_peft(model)
    found = _modules_of_parts(model)
    if train_fully is None:
        train_fully = [part for part in WINGS if part in found and part not in parts]
    _check_parts(found, parts, train_fully)
    _check_base(model)
    wanted = fields.pop("target_modules", None)
    saved = [name for part in train_fully for name in _suffixes(found[part])]
    parameters = [name for part in parts if part in LEARNERS for name in _learner_parameters(found[part])]
    if parameters and (fields.get("use_dora") or fields.get("lora_dropout")):
        raise ValueError(f"parts={tuple(parts)!r}: adapters of learners allow neither use_dora nor lora_dropout.")
    return LoraConfig(
        **{
            "task_type": "CAUSAL_LM",
            **fields,
            "target_modules": _target_modules(model, [part for part in parts if part not in LEARNERS], wanted),
            "target_parameters": [*parameters, *(fields.get("target_parameters") or ())] or None,
            "modules_to_save": [*saved, *(fields.get("modules_to_save") or ())] or None,
        }
    )


def qlora_quantization(**fields: Any) -> BitsAndBytesConfig:
    """
    Four-bit weights for `from_pretrained(quantization_config=...)`: those of the language model's blocks.

    All else stays as it is, as with any quantisation that names no exceptions (see wings_quantization.py).

    Args:
        fields: further fields of `transformers.BitsAndBytesConfig`, and others in place of the ones set here.
    """
    defaults = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
    }
    return BitsAndBytesConfig(**{**defaults, **fields})


def train_in_float32(model: Any) -> Any:
    """
    Casts what is trained to float32, in place, for training under autocast (`TrainingArguments(bf16=True)`).

    peft does so with its adapters; parts that are trained whole stay in the dtype of the model, and steps of 1e-5 are
    lost in the rounding of bfloat16 weights.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.float()
    return model


# -- parts --------------------------------------------------------------------------------------------------


def _without_peft(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _modules_of_parts(model: nn.Module) -> dict[str, list[str]]:
    """Names of the modules that make up each part that the model has."""
    base: Any = getattr(model, "model", model)
    names = {module: name for name, module in model.named_modules()}
    found: dict[str, list[str]] = {}
    for part, attribute in PLACES.items():
        if getattr(base, attribute, None) is not None:
            found[part] = [names[getattr(base, attribute)]]
    for attention in find_winged(base.language_model):
        for part in (*LEARNERS, "router"):
            if getattr(attention, part, None) is not None:
                found.setdefault(part, []).append(names[getattr(attention, part)])
    return found


def _check_parts(found: dict[str, list[str]], parts: Sequence[str], train_fully: Sequence[str]) -> None:
    for name, chosen in (("parts", parts), ("train_fully", train_fully)):
        if isinstance(chosen, str):
            raise ValueError(f"{name}={chosen!r}: expected a list of parts, some of {PARTS}.")
        unknown = [part for part in chosen if part not in PARTS]
        if unknown:
            raise ValueError(f"{name}={tuple(chosen)!r}: unknown {unknown}, expected some of {PARTS}.")
    if "router" in parts:
        raise ValueError("parts: the router is too small for adapters; name it in train_fully.")
    if "language_model" in train_fully:
        raise ValueError("train_fully: a whole language model is no adapter; train it without peft.")
    for name, chosen in (("parts", parts), ("train_fully", train_fully)):
        missing = [part for part in chosen if part not in found]
        if missing:
            raise ValueError(f"{name}={tuple(chosen)!r}: this model has no {', '.join(missing)}; it has {[*found]}.")
    both = [part for part in parts if part in train_fully]
    if both:
        raise ValueError(f"{', '.join(both)}: in parts and in train_fully, expected one of them.")


def _check_base(model: Any) -> None:
    """Warns unless the adapter's base, `model.name_or_path`, has the learners and the vocabulary of `model`."""
    name = model.config.name_or_path
    advice = "Save the model, load it from there, and make the adapter of that; or keep the base yourself."
    if not name:
        warnings.warn(
            f"The model has no name or path that a saved adapter could name as its base. {advice}", stacklevel=3
        )
        return
    try:
        base, _ = type(model.config).get_config_dict(name, local_files_only=True)
    except OSError:
        return
    learners, vocabulary = tuple(base.get("learners", ())), base.get("text_config", {}).get("vocab_size")
    ours = tuple(model.config.learners), model.config.get_text_config().vocab_size
    if base.get("model_type") == model.config.model_type and (learners, vocabulary) != ours:
        warnings.warn(
            f"{name} has learners {learners} and {vocabulary} tokens, the model {ours[0]} and {ours[1]}: an adapter of "
            f"it cannot be loaded onto {name}. {advice}",
            stacklevel=3,
        )


# -- names for peft -----------------------------------------------------------------------------------------


def _suffixes(names: Iterable[str]) -> list[str]:
    """The last two components of module names: `self_attn.router`, which no mixture's own router is called."""
    return list(dict.fromkeys(".".join(name.split(".")[-2:]) for name in names))


def _learner_parameters(names: Iterable[str]) -> list[str]:
    maps = [f"{name}_{side}" for name in "qkvo" for side in "ab"]
    return [f"{suffix}.{parameter}" for suffix in _suffixes(names) for parameter in maps]


def _target_modules(model: nn.Module, parts: Sequence[str], wanted: Sequence[str] | None) -> str | list[str]:
    """What matches the linear layers in `parts`, and no others: a regular expression, or a list of names."""
    if isinstance(wanted, str):
        raise ValueError(f"target_modules={wanted!r}: expected a list of names of layers within parts.")
    roots = _modules_of_parts(model)
    layers: set[str] = set()
    patterns = []
    for part in parts:
        (root,) = roots[part]
        names = _linear_layers(model.get_submodule(root), wanted)
        if part == "vision_tower":
            names = _read_layers(names, model.config)
        if not names:
            raise ValueError(f"parts: {part} has no linear layers{f' called {wanted}' if wanted else ''} to adapt.")
        layers |= {f"{root}.{name}" for name in names}
        leaves = sorted({name.split(".")[-1] for name in names})
        patterns.append(rf"{re.escape(root)}\.(?:.*\.)?(?:{'|'.join(map(re.escape, leaves))})")
    pattern = "|".join(patterns)
    matched = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)} if pattern else set()
    return pattern if pattern and matched == layers else sorted(layers)


def _linear_layers(root: nn.Module, wanted: Sequence[str] | None) -> list[str]:
    """Names of the linear layers under `root`; those that have adapters already count as they were without."""
    names = [name for name, module in root.named_modules() if _is_linear(getattr(module, "base_layer", module))]
    names = [name for name in names if not {*CHOOSERS, "base_layer"} & {*name.split(".")} and ".lora_" not in name]
    return [name for name in names if wanted is None or name.split(".")[-1] in wanted]


def _read_layers(names: list[str], config: Any) -> list[str]:
    """Without those in layers of the tower after the last one whose output is read: they would never learn."""
    count, chosen = getattr(config.vision_config, "num_hidden_layers", None), config.vision_feature_layer
    if not isinstance(count, int):
        return names
    chosen = [chosen] if isinstance(chosen, int) else chosen
    depth = max(layer if layer >= 0 else count + 1 + layer for layer in chosen)  # hidden state 0 is the input
    indices = {name: re.search(r"(?:^|\.)(\d+)\.", name) for name in names}
    return [name for name, index in indices.items() if index is None or int(index[1]) < depth]


def _is_linear(module: nn.Module) -> bool:
    """Linear layers, those of quantised models too."""
    return isinstance(module, (nn.Linear, Conv1D)) or (hasattr(module, "in_features") and not any(module.children()))
