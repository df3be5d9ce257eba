# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`WingsConfig`: a language model, a vision tower, and the wings between them."""

import operator
import os
from collections.abc import Iterable
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME

from wings_hf.configuration.wings_image_tokens import count_image_tokens
from wings_hf.configuration.wings_sources import public_name
from wings_hf.configuration.wings_towers import describe_tower, without_pooling
from wings_hf.hub.wings_remote_code import MODEL_AUTO_MAP, flat_sources, write_code

LEARNERS = ("visual", "textual")
# What a semantics sets where nothing is given. "released" allows no other value.
PAPER = {"learner_query": "attention_input", "learner_scope": "always", "router": "position"}
RELEASED = {"learner_query": "post_attention", "learner_scope": "always", "router": "position", "learner_rope": True}
RELEASED_FAMILIES = ("qwen2", "llama")
# What transformers takes names of kernels from.
IMPLEMENTATIONS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
MAX_LEARNER_HEAD_SIZE = 248  # eight more columns still fit the largest head (256) of the fused kernels


@strict
class WingsConfig(PreTrainedConfig):
    r"""
    Configuration of a Wings model (Zhang et al., arXiv 2406.03496).

    Args:
        text_config (`PreTrainedConfig` or `dict`):
            The decoder language model: any causal LM of transformers whose attention goes through the attention
            interface. A composite configuration gives its text part. Defaults to a Llama.
        vision_config (`PreTrainedConfig`, `dict` or `None`):
            The vision tower: any image encoder of transformers with one fixed resolution. A composite one (CLIP,
            SigLIP) gives its vision part. `None` leaves the tower out and keeps the projector: `pixel_values` are
            then the tower's outputs, `(images, tokens, vision_feature_size)`. A `dict` without `model_type` is a CLIP
            tower.
        learners (`tuple[str]`): Which low-rank learners stand beside attention: `()` is the plain backbone,
            `("visual",)` is stage 1, `("visual", "textual")` is stage 2 and has the router.
        learner_rank (`int`): Rank r of every low-rank product (Eq. 4).
        learner_layers (`list[int]`, *optional*): Layers that carry learners; all when `None`.
        learner_heads (`int`, *optional*): Heads of each learner. `None` takes the language model's number of query
            heads H where `hidden_size / H` is even and at most 248, else the next divisor of `hidden_size` above
            it that qualifies.
        learner_query (`str`, *optional*): `"attention_input"` (default): the query is what self-attention reads.
            `"post_attention"`: the residual stream after the main attention was added.
        learner_rope (`bool`, *optional*): Rotary embedding on learner queries and keys, with the backbone's plain
            theta. Defaults to `True` where the backbone has a rotary embedding.
        learner_rope_dtype (`str`): `"float32"`, or `"bfloat16"` to round the rotary tables to it, as the released
            code does.
        learner_scope (`str`, *optional*): `"always"` (paper, default), or `"visual_context"`: learners act only on
            rows that have a visible visual token, so that text-only calls equal the base language model's.
        learner_cache (`str`): What new caches keep for the learners: `"plain"` keys and values, as wide as the hidden
            size in each layer, or `"latent"`: the initial embeddings once and rank-r states in each layer, of which
            keys and values are made again. The same results from a fraction of the memory, for more work per token.
            It may be changed on a loaded model: `model.config.learner_cache = "latent"`.
        router (`str`, *optional*): `"position"` (paper, default): a linear map from key positions. `"modality"`: from
            the attention mass on visual keys, on text before and on text after the first image, per head.
            `"uniform"`: weight 1. `"mass"` (ours): the attention mass on the learner's modality itself, without
            parameters, with one learner too; keeps more of the text that follows an image.
        router_positions (`int`): Rows of the position router; longer inputs raise.
        router_power (`float`): With `router="mass"`: the power of the mass, at least 1. The larger, the less is done
            by learners where the main attention looks elsewhere.
        semantics (`str`): `"paper"`: the causal semantics of this package. `"released"`: what the code that the paper's
            authors published computes, for their weights (docs/released_checkpoint.md). It fixes `learner_query`,
            `learner_rope`, `learner_scope` and `router`.
        system_prompt_length (`int`): With `semantics="released"`: first tokens of a row, which the textual learner
            leaves out once there is an image after them.
        image_token_id (`int`, *optional*): Id of the image placeholder; defaults to the first id past the
            vocabulary. It is replaced before the look-up and never generated.
        vision_feature_size (`int`, *optional*): Width of the features given to the projector; read off the tower
            where it can be.
        vision_feature_layer (`int` or `list[int]`, *optional*): Hidden state(s) of the tower to use, concatenated.
            `None` means -2 for a transformer and -1 (the last feature map) for a convolutional tower.
        vision_feature_select_strategy (`str`): `"default"` drops the tower's prefix tokens (class token, registers),
            `"full"` keeps them.
        num_prefix_tokens (`int`, *optional*): Tokens that the tower puts before the patches; known for the usual
            towers.
        image_seq_length (`int`, *optional*): Tokens per image at the tower's own resolution, for information; counted
            where the tower has one. What decides is `image_token_geometry`.
        projector_hidden_act (`str`): Activation between the projector's two linear maps.
        freeze_vision_tower (`bool`): Build the tower with `requires_grad=False` and keep it in eval mode.
        use_cache (`bool`): Whether a call keeps a cache where its caller does not say.

    Raises:
        ValueError: for a value that no model can be built with; the message names it and what was expected.
    """

    model_type = "wings"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}
    attribute_map = {"image_token_index": "image_token_id"}
    has_no_defaults_at_init = False

    text_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = None
    learners: tuple | list = LEARNERS
    learner_rank: int = 64
    learner_layers: tuple | list | None = None
    learner_heads: int | None = None
    learner_query: Literal["attention_input", "post_attention"] | None = None
    learner_rope: bool | None = None
    learner_rope_dtype: Literal["float32", "bfloat16"] = "float32"
    learner_scope: Literal["always", "visual_context"] | None = None
    learner_cache: Literal["plain", "latent"] = "plain"
    router: Literal["position", "modality", "uniform", "mass"] | None = None
    router_positions: int = 4096
    router_power: int | float = 2
    semantics: Literal["paper", "released"] = "paper"
    system_prompt_length: int = 14
    image_token_id: int | None = None
    vision_feature_size: int | None = None
    vision_feature_layer: int | list | None = None
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    num_prefix_tokens: int | None = None
    image_seq_length: int | None = None
    projector_hidden_act: str = "gelu"
    projector_bias: bool = True
    freeze_vision_tower: bool = True
    tie_word_embeddings: bool = False
    use_cache: bool = True

    def __post_init__(self, **kwargs: Any):
        self.text_config = _as_text_config(self.text_config)
        self.vision_config = _as_vision_config(self.vision_config)
        self.learners = tuple(self.learners)
        if self.image_token_id is None:
            self.image_token_id = self.text_config.vocab_size
        if getattr(self.text_config, "tie_word_embeddings", False):  # which text encoders have not
            self.tie_word_embeddings = True
        self._resolve_semantics()
        self.validate_learners()
        self._resolve_learner_heads()
        self._resolve_vision()
        kwargs.pop("code_modules", None)  # a saving model's word, not a file's: it names modules that are copied
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        As in transformers; but code of the Hub (`attn_implementation="owner/kernel"`) is for the caller to name, and
        not for a file.
        """
        for part in ("", "text_config", "vision_config"):
            _refuse_kernels(config_dict.get(part) if part else config_dict)
        return super().from_dict(config_dict, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        values = {**super().to_dict(), "auto_map": dict(MODEL_AUTO_MAP)}
        values.pop("code_modules", None)
        for part in ("text_config", "vision_config"):
            _name_in_public(values.get(part))
        return values

    def to_json_file(self, json_file_path: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """
        Saves the configuration; as `config.json`, with the code that loads it where wings_hf is not installed.

        A model that is being saved leaves the name of its module in `code_modules`.
        """
        modules = [__name__, *self.__dict__.pop("code_modules", [])]
        super().to_json_file(json_file_path, *args, **kwargs)
        directory, name = os.path.split(json_file_path)
        if name == CONFIG_NAME:
            for module in modules:
                write_code(module, directory)

    # ---- learners -------------------------------------------------------------------------------------------
    def _resolve_semantics(self) -> None:
        released = self.semantics == "released"
        for name, value in (RELEASED if released else PAPER).items():
            if getattr(self, name) is None:
                setattr(self, name, value)
            elif released and getattr(self, name) != value:
                raise ValueError(f"{name}={getattr(self, name)!r}: semantics='released' allows {value!r} only.")
        if self.learner_rope is None:
            self.learner_rope = _has_rope(self.text_config)
        if released and self.text_config.model_type not in RELEASED_FAMILIES:
            raise ValueError(
                f"text_config of type {self.text_config.model_type!r}: semantics='released' is that of code for "
                f"{' and '.join(RELEASED_FAMILIES)} only."
            )
        if self.system_prompt_length < 0:
            raise ValueError(f"system_prompt_length={self.system_prompt_length}: expected a number of tokens.")

    def validate_learners(self) -> None:
        """Puts `learners` in order and checks the fields about them."""
        expected = "('visual', 'textual'), ('visual',), ('textual',) or ()"
        if any(name not in LEARNERS for name in self.learners) or len(set(self.learners)) != len(self.learners):
            raise ValueError(f"learners={self.learners!r}: expected {expected}.")
        self.learners = tuple(name for name in LEARNERS if name in self.learners)
        if self.semantics == "released" and self.learners == ("textual",):
            raise ValueError("learners=('textual',): semantics='released' has ('visual',) or both.")
        for name in ("learner_rank", "router_positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive integer.")
        if not 1 <= self.router_power < float("inf"):
            raise ValueError(f"router_power={self.router_power}: expected a number, at least 1.")
        if self.image_token_id < 0:
            raise ValueError(f"image_token_id={self.image_token_id}: expected a non-negative integer.")
        layers = self.text_config.num_hidden_layers
        if self.learner_layers is not None:
            self.learner_layers = _integers("learner_layers", self.learner_layers)
            if self.learner_layers != sorted({i for i in self.learner_layers if 0 <= i < layers}):
                raise ValueError(
                    f"learner_layers={self.learner_layers}: expected ascending, distinct layer indices from 0 to "
                    f"{layers - 1} (the language model has {layers} layers)."
                )

    def _resolve_learner_heads(self) -> None:
        hidden, heads = self.text_config.hidden_size, self.text_config.num_attention_heads
        given = self.learner_heads is not None

        def qualifies(count: int) -> bool:
            return hidden % count == 0 and (hidden // count) % 2 == 0 and hidden // count <= MAX_LEARNER_HEAD_SIZE

        if self.semantics == "released" and self.learner_heads not in (None, heads):
            raise ValueError(
                f"learner_heads={self.learner_heads}: semantics='released' gives learners the language model's {heads}."
            )
        only = self.learner_heads if given else heads if self.semantics == "released" else None
        # From the fewest heads on; counted by their size, which is small even where the configuration is absurd.
        sizes = range(min(MAX_LEARNER_HEAD_SIZE, hidden // heads), 0, -1)
        candidates = (hidden // size for size in sizes if hidden % size == 0) if only is None else [only]
        chosen = next((count for count in candidates if count > 0 and qualifies(count)), None)
        if chosen is None:
            wanted = f"learner_heads={self.learner_heads}" if given else f"no learner_heads of {heads} or more"
            raise ValueError(
                f"{wanted} divides hidden_size={hidden} into even heads of at most {MAX_LEARNER_HEAD_SIZE}."
            )
        self.learner_heads = chosen

    @property
    def winged_layers(self) -> list[int]:
        """Indices of the layers that carry learners."""
        if not self.learners:
            return []
        every = range(self.text_config.num_hidden_layers)
        return list(every) if self.learner_layers is None else list(self.learner_layers)

    @property
    def has_router(self) -> bool:
        """Whether layers have a router: two learners, and not blended uniformly; or any that the mass is to weigh."""
        return bool(self.learners) if self.router == "mass" else len(self.learners) == 2 and self.router != "uniform"

    # ---- vision ---------------------------------------------------------------------------------------------
    def _resolve_vision(self) -> None:
        if self.vision_config is None:
            return
        tower = describe_tower(self.vision_config)
        if self.vision_feature_layer is None:
            self.vision_feature_layer = -1 if tower.convolutional else -2
        layers = self._feature_layers()
        if tower.convolutional and layers != [-1]:
            raise ValueError(
                f"vision_feature_layer={self.vision_feature_layer}: expected -1, the last feature map, for the "
                f"convolutional tower {self.vision_config.model_type!r}."
            )
        if self.num_prefix_tokens is None:
            self.num_prefix_tokens = tower.prefix_tokens
        if self.vision_feature_size is None:
            if tower.feature_size is None:
                raise ValueError(
                    f"The feature width of the tower {self.vision_config.model_type!r} is not known: expected "
                    "vision_feature_size."
                )
            self.vision_feature_size = tower.feature_size * len(layers)
        if self.image_seq_length is None and tower.image_size is not None:
            self.image_seq_length = count_image_tokens(*tower.image_size, **self.image_token_geometry())
        for name, least in (("num_prefix_tokens", 0), ("vision_feature_size", 1), ("image_seq_length", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: expected an integer, at least {least}.")

    def _feature_layers(self) -> list[int]:
        """The hidden states of the tower that are taken."""
        given = self.vision_feature_layer
        layers = _integers("vision_feature_layer", given if isinstance(given, tuple | list) else [given])
        last = getattr(self.vision_config, "num_hidden_layers", None)
        if not layers:
            raise ValueError("vision_feature_layer=[]: expected at least one hidden state of the tower.")
        if isinstance(last, int) and not all(-last - 1 <= index <= last for index in layers):
            raise ValueError(
                f"vision_feature_layer={given!r}: expected hidden states of the tower, from {-last - 1} to {last} "
                f"(it has {last} layers)."
            )
        return layers

    def image_token_geometry(self) -> dict[str, Any]:
        """Keyword arguments for [`count_image_tokens`] that describe this model's tower."""
        if self.vision_config is None:
            raise ValueError("vision_config=None: the number of tokens per image is that of the given features.")
        tower = describe_tower(self.vision_config)
        return {
            "patch_size": tower.patch_size,
            "num_prefix_tokens": self.num_prefix_tokens,
            "select_strategy": self.vision_feature_select_strategy,
            "rounding": tower.rounding,
        }


def _refuse_kernels(values: Any) -> None:
    """
    Raises:
        ValueError: a configuration's values ask for kernels of the Hub, which are code.
    """
    for name in IMPLEMENTATIONS if isinstance(values, dict) else ():
        given = values.get(name)
        for each in given.values() if isinstance(given, dict) else [given]:
            if isinstance(each, str) and "/" in each:
                raise ValueError(
                    f"{name}={each!r} in a configuration: that is code of the Hub. Take it out; if you trust it, pass "
                    "it when the model is loaded."
                )


def _integers(name: str, values: Iterable[Any]) -> list[int]:
    """
    Raises:
        ValueError: one of `values` is no integer.
    """
    try:
        return [operator.index(value) for value in values]
    except TypeError as error:
        raise ValueError(f"{name}={values!r}: expected integers ({error}).") from error


def _name_in_public(part: Any) -> None:
    """Leaves in a part's plain values where it came from if that is a name on the Hub: paths are nobody's business."""
    if isinstance(part, dict) and "_name_or_path" in part:
        part["_name_or_path"] = public_name(part["_name_or_path"])


def _has_rope(text_config: PreTrainedConfig) -> bool:
    """Whether the language model has a rotary embedding of a known theta, for all layers or by type of layer."""
    parameters = getattr(text_config, "rope_parameters", None) or {}
    return any("rope_theta" in values for values in (parameters, *parameters.values()) if isinstance(values, dict))


def _as_text_config(text_config: dict | PreTrainedConfig | None) -> PreTrainedConfig:
    if text_config is None:
        text_config = CONFIG_MAPPING["llama"]()
    elif isinstance(text_config, dict):
        text_config = _from_dict("text_config", text_config, "llama")
    text_config = text_config.get_text_config(decoder=True)
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        value = getattr(text_config, name, None)
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"text_config of type {text_config.model_type!r} has {name}={value!r}: expected the positive integer "
                "of a language model with attention."
            )
    return text_config


def _as_vision_config(vision_config: dict | PreTrainedConfig | None) -> PreTrainedConfig | None:
    """The tower's own configuration, without a pooling head where the family lets one leave it out."""
    if vision_config is None:
        return None
    if isinstance(vision_config, dict):
        vision_config = _from_dict("vision_config", vision_config, "clip_vision_model")
    tower = getattr(vision_config, "vision_config", vision_config)
    if not isinstance(tower, PreTrainedConfig):
        raise ValueError(f"vision_config of type {vision_config.model_type!r} has no vision part: it is {tower!r}.")
    vision_config = without_pooling(tower)
    if vision_config.model_type == "siglip2_vision_model":
        raise ValueError(
            "vision_config.model_type='siglip2_vision_model' is SigLIP 2 NaFlex, whose images have varying shapes; "
            "expected a tower of one fixed resolution, such as the fixed-resolution SigLIP 2 checkpoints "
            "(model_type='siglip_vision_model')."
        )
    return vision_config


def _from_dict(name: str, values: dict, default_type: str) -> PreTrainedConfig:
    model_type = values.get("model_type", default_type)
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise ValueError(f"{name}['model_type']={model_type!r}: expected a model type that transformers knows.")
    try:
        return CONFIG_MAPPING[model_type](**{k: v for k, v in values.items() if k != "model_type"})
    except Exception as error:  # each family checks, or trips over, its values in its own way
        raise ValueError(f"{name} is no configuration of type {model_type!r}: {error}") from error


__all__ = ["WingsConfig"]

flat_sources(__name__)
