# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`examples/train_with_trainer.py` and `examples/train_with_trl.py`, run on tiny models made here.

The second is skipped without trl, datasets and peft.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from example_parts import EXAMPLES, example, save_backbones
from processor_parts import picture

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.records import to_messages
from wings_hf.training.stages import part_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A language model, a vision model, and conversations with one image, with two, and with none."""
    save_backbones(tmp_path)
    records = []
    for number in range(12):
        images = [str(tmp_path / f"{number}-{index}.png") for index in range(number % 3)]
        for index, image in enumerate(images):
            picture(number + index).save(image)
        turns = [{"role": "user", "content": "what is shown"}, {"role": "assistant", "content": "a cat and a dog"}]
        records.append({"messages": turns, "images": images})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


def run_trainer(folder: Path) -> Path:
    models = ["--text-model", str(folder / "llm"), "--vision-model", str(folder / "siglip")]
    data = ["--data", str(folder / "data.jsonl"), "--output", str(folder / "wings")]
    example("train_with_trainer").main([*models, *data, "--rank", "4", "--batch-size", "4", "--max-steps", "3"])
    return folder / "wings"


def moved_parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {part_of(name) for name, value in after.items() if name in before and not torch.equal(value, before[name])}


def test_examples_are_short() -> None:
    for name in ("train_with_trainer", "train_with_trl"):
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 100


def test_both_stages_with_the_trainer(folder: Path) -> None:
    output = run_trainer(folder)
    start = WingsForCausalLM.from_backbones(folder / "llm", folder / "siglip", learner_rank=4)
    aligned, tuned = (WingsForCausalLM.from_pretrained(output / stage) for stage in ("align", "tune"))
    assert aligned.config.learners == ("visual",) and tuned.config.learners == ("visual", "textual")
    assert moved_parts(start.state_dict(), aligned.state_dict()) == {"projector", "visual_learner"}
    after = moved_parts(aligned.state_dict(), tuned.state_dict())
    assert after == {"projector", "visual_learner", "language_model"}
    layer = tuned.model.language_model.layers[0].self_attn
    assert layer.textual_learner.o_b.any() and layer.router.weight.any(), "what joined has learned"
    processor = WingsProcessor.from_pretrained(output / "tune")
    inputs = processor(text=["<image> what is shown"], images=[picture(1)], return_tensors="pt")
    assert tuned(**inputs).logits.isfinite().all()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # trl's and peft's own
def test_sft_trainer_with_and_without_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peft = pytest.importorskip("peft")
    pytest.importorskip("datasets")
    trl = pytest.importorskip("trl")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    wings = run_trainer(folder) / "tune"
    output = folder / "sft"
    script = example("train_with_trl")
    compared = []
    original = trl.SFTTrainer.compute_loss

    def compute_loss(self, model, inputs, *args, **kwargs):
        loss = original(self, model, dict(inputs), *args, **kwargs)
        with torch.no_grad():
            plain = self.accelerator.unwrap_model(model)(**inputs).loss
        compared.append((loss.item(), plain.item(), "pixel_values" in inputs))
        return loss

    monkeypatch.setattr(trl.SFTTrainer, "compute_loss", compute_loss)
    options = ["--model", str(wings), "--data", str(folder / "data.jsonl"), "--output", str(output)]
    script.main([*options, "--rank", "2", "--batch-size", "2", "--max-steps", "6"])
    assert len(compared) == 6
    for ours, plain, _ in compared:
        assert ours == pytest.approx(plain, rel=1e-5), "TRL's fused head and the model's own loss"

    base = WingsForCausalLM.from_pretrained(wings)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    processor = WingsProcessor.from_pretrained(output)
    row = json.loads((folder / "data.jsonl").read_text().splitlines()[1])
    batch = ConversationCollator(processor)([to_messages(row, folder)])
    loss = base(**batch).loss
    trained = peft.PeftModel.from_pretrained(base, output)
    logits = trained(**batch).logits
    # peft grows the embeddings by a row for the placeholder where a tokenizer lies beside an adapter.
    grown = peft.AutoPeftModelForCausalLM.from_pretrained(output)
    assert torch.equal(grown(**batch).logits[..., : logits.shape[-1]], logits)
    merged = trained.merge_and_unload()
    assert moved_parts(before, merged.state_dict()) == {
        "projector",
        "visual_learner",
        "textual_learner",
        "router",
        "language_model",
    }
    assert merged(**batch).loss < loss
    shutil.rmtree(folder / "cache", ignore_errors=True)
