# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
`WingsModel` and `WingsForCausalLM`: any decoder language model with sight, and learners beside its attention.

Pixels go through the vision tower and the projector into the positions of the image placeholders; the language model
runs on the merged embeddings, with a visual and a textual learner in its attention modules (wings_attention.py).

Shapes: `b` batch, `s` positions of this call, `d` hidden size, `i` images, `t` tokens per image.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedModel,
)
from transformers import (
    initialization as init,
)
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple, logging

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.hub.wings_remote_code import flat_sources
from wings_hf.modeling.wings_backbone import attach_wings, checkpoints_activations
from wings_hf.modeling.wings_build import check_weights, transplant
from wings_hf.modeling.wings_cache import prepare_cache, retract_cache
from wings_hf.modeling.wings_feature_cache import ImageFeatureCache
from wings_hf.modeling.wings_generation import WingsGenerationMixin
from wings_hf.modeling.wings_head import CausalHead
from wings_hf.modeling.wings_inputs import merge_images
from wings_hf.modeling.wings_learners import LowRankLearner
from wings_hf.modeling.wings_masks import language_model_positions
from wings_hf.modeling.wings_outputs import WingsCausalLMOutputWithPast, WingsModelOutputWithPast
from wings_hf.modeling.wings_paged import WingsContinuousBatchingMixin
from wings_hf.modeling.wings_quantization import restore_packed_weights, with_exceptions
from wings_hf.modeling.wings_router import LearnedRouter
from wings_hf.modeling.wings_semantics import SEMANTICS
from wings_hf.modeling.wings_training import join_learners, zero_of_idle_parameters
from wings_hf.modeling.wings_vision import WingsMultiModalProjector, build_vision_tower, tower_outputs

logger = logging.get_logger(__name__)


class WingsPreTrainedModel(PreTrainedModel):
    """Loading, saving and initialisation."""

    config_class = WingsConfig
    config: WingsConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values", "wings"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: weights are initialised through transformers' guarded functions only, as in its own models."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LowRankLearner):
            for name in ("q", "k", "v", "o"):
                down = getattr(module, f"{name}_a")
                init.normal_(down, std=down.shape[0] ** -0.5)
                init.zeros_(getattr(module, f"{name}_b"))
        elif isinstance(module, LearnedRouter):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def initialize_weights(self) -> None:
        # Learners and routers sit inside the language model, whose own `_init_weights` does not know them.
        for module in self.modules():
            if isinstance(module, (LowRankLearner, LearnedRouter)):
                self._initialize_weights(module)
        super().initialize_weights()

    @classmethod
    def from_pretrained(cls, *args: Any, quantization_config: Any = None, **kwargs: Any):
        """Loads a model, from safetensors files only.

        A `quantization_config` that names no exceptions is for the language model's blocks alone.
        """
        check_weights(args[0] if args else kwargs.get("pretrained_model_name_or_path"), kwargs)
        if quantization_config is not None:
            kwargs["quantization_config"] = with_exceptions(quantization_config)
        return super().from_pretrained(*args, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, is_main_process: bool = True, **kwargs: Any) -> None:
        """Saves weights and configuration, and beside them the code that loads them where wings_hf is not installed."""
        restore_packed_weights(self)
        if is_main_process:
            self.config.code_modules = [__name__]  # written, and uploaded, with the configuration
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)

    # Writes a model card into a folder, for a name on the Hub. The package sets it; saved code has none.
    write_card: Callable[[str, str], None] | None = None

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # push_to_hub has saved the model by now, and a card that says nothing where the repository had none.
        if type(self).write_card is not None:
            type(self).write_card(os.fspath(working_dir), repo_id)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def train(self, mode: bool = True):
        """Train or eval mode; a frozen vision tower stays in eval mode, so that its statistics do not move."""
        super().train(mode)
        tower = self.base_model.vision_tower
        if tower is not None and not any(parameter.requires_grad for parameter in tower.parameters()):
            tower.eval()
        return self


class WingsModel(WingsPreTrainedModel):
    """
    Vision tower, projector and language model with learners; no head.

    Args:
        config: a `WingsConfig`.
        language_model: the language model to use, freshly built; made from `config.text_config` by default.
    """

    def __init__(self, config: WingsConfig, language_model: PreTrainedModel | None = None):
        super().__init__(config)
        self.language_model = language_model or AutoModel.from_config(config.text_config)
        self.semantics = SEMANTICS[config.semantics]
        attach_wings(self.language_model, config, self.semantics.attention)
        names = {type(layer).__name__ for layer in self.language_model.modules() if hasattr(layer, "is_first_layer")}
        self._no_split_modules = [*names]
        self.vision_tower = None if config.vision_config is None else build_vision_tower(config.vision_config)
        if self.vision_tower is not None and config.freeze_vision_tower:
            self.vision_tower.requires_grad_(False)
        self.multi_modal_projector = WingsMultiModalProjector(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_decoder(self) -> PreTrainedModel:
        return self.language_model

    # ---- images ---------------------------------------------------------------------------------------------
    image_feature_cache: ImageFeatureCache | None = None

    def cache_image_features(self, max_images: int | None = 32) -> None:
        """
        Keeps features of the images seen last, for those that come again; see `ImageFeatureCache`.

        Args:
            max_images: how many; `None` turns it off.
        """
        self.image_feature_cache = None if max_images is None else ImageFeatureCache(max_images)

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPooling:
        """
        Projected image features.

        Args:
            pixel_values: (i, channels, height, width); without a vision tower, its outputs (i, t, feature width).

        Returns:
            an output with the chosen tower features in `last_hidden_state`, (i, t, feature width), and their
            projection in `pooler_output`, a list of (t, d).
        """
        cache = self.image_feature_cache
        if cache is not None and cache.applies(self, kwargs):
            parts = [part for part in (self.vision_tower, self.multi_modal_projector) if part is not None]
            return cache.encode(parts, pixel_values, self._encode_images)
        return self._encode_images(pixel_values, **kwargs)

    def _encode_images(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        if self.vision_tower is None:
            outputs = BaseModelOutputWithPooling(last_hidden_state=self._check_features(pixel_values))
        else:
            outputs = tower_outputs(self.vision_tower, pixel_values, self.config, **kwargs)
        weight = self.multi_modal_projector.linear_1.weight
        dtype = weight.dtype if weight.is_floating_point() else self.dtype  # else quantised
        projected = self.multi_modal_projector(outputs.last_hidden_state.to(weight.device, dtype))
        outputs.pooler_output = list(projected)
        return outputs

    def _check_features(self, features: torch.Tensor) -> torch.Tensor:
        if features.ndim != 3 or features.shape[-1] != self.config.vision_feature_size:
            raise ValueError(
                f"pixel_values of shape {tuple(features.shape)}: a model without a vision tower expects features of "
                f"shape (images, tokens, {self.config.vision_feature_size})."
            )
        return features

    # ---- forward --------------------------------------------------------------------------------------------
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        mm_token_type_ids: torch.LongTensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        use_cache: bool | None = None,
        padding_mask: torch.Tensor | None = None,
        learner_attention_mask: torch.Tensor | None = None,
        plain_masks: bool = False,
        use_wings: bool = True,
        **kwargs: Unpack[TransformersKwargs],
    ) -> WingsModelOutputWithPast:
        """
        Args:
            input_ids: (b, s), with `config.image_token_id` at each position that an image feature takes.
            pixel_values: (i, channels, height, width), images in reading order over the rows of the batch.
            attention_mask: 1 for tokens, 0 for padding, (b, past + s).
            position_ids: (b, s); restarting ones without mask and cache mark packed samples.
            past_key_values: a cache that this model filled, or an empty one.
            inputs_embeds: (b, s, d), instead of `input_ids`; image features may be merged already.
            mm_token_type_ids: 1 where an image feature is, else 0, (b, s). Optional with `input_ids`; with
                `inputs_embeds` it says where the images are.
            mm_encoder_outputs: `{"image": output of get_image_features}`, instead of `pixel_values`.
            padding_mask: 0 for padding among this call's tokens, (b, s); with an `attention_mask` that is prepared
                for the backend already.
            learner_attention_mask: likewise, the learners' causal mask (no sliding window).
            plain_masks: whether masks that are prepared already forbid the future and padding and nothing else, as
                those of `generate` do; such calls have faster ways.
            use_wings: False for what the language model computes by itself, without learners and router. A word to this
                call alone, as `generate` passes it on: other threads' calls do not see it.

        Raises:
            ValueError: for inputs that contradict each other; the message says how. A cache holds what was computed
                with wings or without: the other kind of call refuses it.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Expected exactly one of input_ids and inputs_embeds.")
        images = self._images(pixel_values, mm_encoder_outputs)
        features = None if images is None else torch.cat([image.flatten(0, -2) for image in images])
        inputs_embeds, is_image = merge_images(
            self.config, self.get_input_embeddings(), input_ids, inputs_embeds, mm_token_type_ids, features
        )
        if self.training and torch.is_grad_enabled():
            shows_images = images is not None and use_wings
            inputs_embeds = inputs_embeds + zero_of_idle_parameters(self, self.vision_tower, shows_images)
        if self.config.learners and not use_wings:
            retract_cache(past_key_values)
            kwargs["wings"] = False
        elif self.config.learners:
            marked = images is None and input_ids is None and mm_token_type_ids is not None
            keeps_activations = not (self.training and checkpoints_activations(self.language_model))
            packable = None if attention_mask is not None else position_ids
            past_key_values, use_cache = prepare_cache(
                self.config, past_key_values, use_cache, packable, keeps_activations
            )
            kwargs["wings"] = self.semantics.make_context(
                self.config,
                self.language_model.config,
                inputs_embeds,
                is_image,
                images=None if marked else len(images or ()),
                attention_mask=attention_mask,
                padding_mask=padding_mask,
                learner_mask=learner_attention_mask,
                plain_masks=plain_masks,
                position_ids=position_ids,
                cache=past_key_values,
            )
        if position_ids is None and isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = language_model_positions(inputs_embeds, attention_mask, past)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=self.config.use_cache if use_cache is None else use_cache,
            return_dict=True,
            **kwargs,
        )
        return WingsModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=images,
            router_logits=getattr(outputs, "router_logits", None),
        )

    def _images(self, pixel_values: torch.Tensor | None, encoded: dict | None) -> list[torch.Tensor] | None:
        image = None if encoded is None else encoded.get("image")
        if image is not None and pixel_values is not None:
            raise ValueError("Expected only one of pixel_values and mm_encoder_outputs['image'].")
        if pixel_values is not None:
            image = self.get_image_features(pixel_values, return_dict=True)
        return None if image is None else list(image.pooler_output)


class WingsForCausalLM(WingsPreTrainedModel, WingsContinuousBatchingMixin, WingsGenerationMixin, GenerationMixin):
    """
    A language model with sight and its own causal head, whole: what its `AutoModelForCausalLM` class does after the
    decoder (soft-capping, scaling, auxiliary losses) is done by that class's own code.

    Args:
        config: a `WingsConfig`.
    """

    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: WingsConfig):
        super().__init__(config)
        if type(config.text_config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(f"text_config of type {config.text_config.model_type!r} has no causal language model.")
        causal_lm = AutoModelForCausalLM.from_config(config.text_config)
        self.causal_head = CausalHead(causal_lm)
        self._tied_weights_keys = self.causal_head.tied_weights("model.language_model")
        self.model = WingsModel(config, causal_lm.base_model)
        for name, child in self.causal_head.modules_of(causal_lm):
            self.add_module(name, child)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return getattr(self, self.causal_head.output_name)

    def set_output_embeddings(self, value: nn.Module) -> None:
        setattr(self, self.causal_head.output_name, value)

    def get_decoder(self) -> PreTrainedModel:
        return self.model.get_decoder()

    def get_image_features(
        self, pixel_values: torch.Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutputWithPooling:
        """See [`WingsModel.get_image_features`]."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def cache_image_features(self, max_images: int | None = 32) -> None:
        """See [`WingsModel.cache_image_features`]."""
        self.model.cache_image_features(max_images)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | dict | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        mm_token_type_ids: torch.LongTensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        padding_mask: torch.Tensor | None = None,
        learner_attention_mask: torch.Tensor | None = None,
        plain_masks: bool = False,
        use_wings: bool = True,
        **kwargs: Unpack[TransformersKwargs],
    ) -> WingsCausalLMOutputWithPast:
        """
        Arguments as in [`WingsModel.forward`], and:

        Args:
            labels: (b, s), token ids to predict at each position (shifted inside), -100 where none.
            logits_to_keep: compute logits for the last so many positions only (0: all), or for these indices.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            mm_token_type_ids=mm_token_type_ids,
            mm_encoder_outputs=mm_encoder_outputs,
            use_cache=use_cache,
            padding_mask=padding_mask,
            learner_attention_mask=learner_attention_mask,
            plain_masks=plain_masks,
            use_wings=use_wings,
            return_dict=True,
            **kwargs,
        )
        if labels is not None:  # the placeholder is never predicted, and may lie past the vocabulary
            labels = labels.masked_fill(labels == self.config.image_token_id, -100)
        head_mask = attention_mask if isinstance(attention_mask, torch.Tensor) else None
        result = self.causal_head(
            self, outputs, attention_mask=head_mask, labels=labels, logits_to_keep=logits_to_keep, **kwargs
        )
        return WingsCausalLMOutputWithPast(
            loss=result.loss,
            logits=result.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            aux_loss=getattr(result, "aux_loss", None),
            router_logits=outputs.router_logits,
        )

    # ---- building -------------------------------------------------------------------------------------------
    @classmethod
    def from_backbones(
        cls,
        text_model: str | PreTrainedModel,
        vision_model: str | PreTrainedModel | None,
        *,
        tokenizer: Any = None,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        **config: Any,
    ) -> "WingsForCausalLM":
        """
        Wings for a pretrained language model and a pretrained vision tower.

        The parameters of given modules become the new model's own, without a copy. At that moment text-only logits
        equal the language model's bit for bit.

        Args:
            text_model: name, path, or causal language model.
            vision_model: name, path, or image encoder (with or without a head or a text side); `None` for a model
                that takes features.
            tokenizer: picks `image_token_id` where `config` does not: the id of its `<image>` token, else the
                first one that it leaves unused.
            dtype: dtype of all weights; that of the language model by default.
            attn_implementation: attention backend of all parts.
            config: further fields of `WingsConfig`.
        """
        return transplant(cls, text_model, vision_model, tokenizer, dtype, attn_implementation, config)

    @torch.no_grad()
    def add_learners(self, *names: str) -> "WingsForCausalLM":
        """
        Adds learners, and the router where there are two: the step from stage 1 to stage 2. Changes no logit.

        Args:
            names: "visual", "textual".

        Raises:
            ValueError: for a learner that is there already or does not exist.
        """
        present = [name for name in names if name in self.config.learners]
        if present or not names:
            raise ValueError(f"add_learners{names!r}: the model has {self.config.learners!r}, expected others.")
        if hasattr(self, "peft_config"):
            raise ValueError("add_learners: the model has adapters of peft, which would not save new learners.")
        if not self.config.learners:
            raise ValueError("add_learners: a model built with learners=() has no wings to add to; build it with some.")
        self.config.learners = (*self.config.learners, *names)
        self.config.validate_learners()
        join_learners(self.model.language_model, self.config, self._init_weights)
        return self


flat_sources(__name__)
