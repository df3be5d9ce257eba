# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Mixtures, orders and lengths: shares as asked, every record equally often, the same in every run."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from data_parts import answers, counted, png, raw_record, write_lines
from demo_parts import processor
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from wings_hf.data.collator import ConversationCollator
from wings_hf.data.conversations import open_data
from wings_hf.data.lengths import TokenCounter
from wings_hf.data.mixing import counts, draw, generator, grouped
from wings_hf.data.records import DataError


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """`few`: 10 records of text; `many`: 40 with an image; `both`: 20, every second with one."""
    (tmp_path / "a.png").write_bytes(png())
    made = {"few": (range(10), 0), "many": (range(100, 140), 1), "both": (range(200, 220), 2)}
    paths = {}
    for name, (numbers, kind) in made.items():
        raws = []
        for n in numbers:
            images = n % 2 if kind == 2 else kind
            raws.append(raw_record(n, images, images=["a.png"] * images))
        paths[name] = str(write_lines(tmp_path / f"{name}.jsonl", raws))
    return paths


def test_without_weights_each_record_comes_once_in_each_pass(files: dict[str, str]) -> None:
    data = open_data(list(files.values()))
    orders = []
    for epoch in range(3):
        data.set_epoch(epoch)
        orders.append(answers(data))
        assert set(counted(data).values()) == {1} and len(data) == 70
    assert orders[0] != orders[1] != orders[2]
    assert answers(open_data(list(files.values()))) == orders[0], "the same seed, the same order"
    assert answers(open_data(list(files.values()), seed=1)) != orders[0]
    assert answers(open_data(list(files.values()), shuffle=False)) == sorted(orders[0])


def test_weights_set_the_shares_and_records_come_equally_often(files: dict[str, str]) -> None:
    data = open_data([{"path": files["few"], "weight": 1}, {"path": files["many"], "weight": 3}])
    seen: Counter[int] = Counter()
    for epoch in range(7):
        data.set_epoch(epoch)
        drawn = counted(data)
        assert sum(drawn.values()) == len(data) == 50
        assert sum(count for number, count in drawn.items() if number < 100) in (12, 13)
        seen += drawn
    for group in (range(10), range(100, 140)):
        times = [seen[number] for number in group]
        assert max(times) - min(times) <= 1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.75, 1.0])
def test_the_share_of_text_is_as_asked(share: float, files: dict[str, str]) -> None:
    data = open_data([files["few"], files["both"], files["many"]], text_share=share)
    text = sum(not record.images for record in data)
    assert abs(text - share * len(data)) <= 1
    assert len(data) == 70


@pytest.mark.parametrize(
    ("sources", "options", "reason"),
    [
        ([{"path": "few", "weight": 1}, {"path": "many"}], {}, "all of them one, or none"),
        ([{"path": "many"}], {"text_share": 0.5}, "there must be records with text-only"),
        ([{"path": "few"}], {"text_share": 1.5}, "must lie in"),
        ([{"path": "many", "text_only": True}], {}, "said to be text only"),
        ([{"path": "few", "streaming": True}], {"text_share": 0.5}, "needs a weight"),
    ],
)
def test_mixtures_that_cannot_be_are_refused(sources, options, reason, files) -> None:
    with pytest.raises(DataError, match=reason):
        open_data([{**source, "path": files[source["path"]]} for source in sources], **options)


def test_a_stream_in_shares(files: dict[str, str]) -> None:
    sources = [
        {"path": files["few"], "weight": 1, "text_only": True, "streaming": True},
        {"path": files["many"], "weight": 1, "streaming": True},
    ]
    stream = open_data(sources, text_share=0.75)
    records = list(stream)
    seen = counted(records)
    assert set(seen) == {*range(10), *range(100, 140)}, "the pass ends when each source has been read"
    text = sum(not record.images for record in records) / len(records)
    assert 0.6 < text < 0.9
    assert answers(stream) == answers(records), "the same pass, the same order"


def test_a_stream_goes_on_where_it_was(files: dict[str, str]) -> None:
    def make():
        return open_data([{"path": files[name], "streaming": True} for name in ("few", "both")], seed=3)

    whole, stream = answers(make()), make()
    iterator = iter(stream)
    first = [next(iterator) for _ in range(11)]
    again = make()
    again.load_state_dict(stream.state_dict())
    assert answers(first) + answers(again) == whole
    again.set_epoch(1)
    assert sorted(answers(again)) == sorted(whole) and answers(again) != whole


def test_a_bad_record_in_a_stream(files: dict[str, str], tmp_path: Path) -> None:
    path = write_lines(tmp_path / "flawed.jsonl", [raw_record(1), raw_record(2, 1), raw_record(3)])
    with pytest.raises(DataError, match=r"flawed.jsonl, record 1: 1 places"):
        list(open_data({"path": str(path), "streaming": True}))
    stream = open_data({"path": str(path), "streaming": True}, on_error="skip")
    assert sorted(answers(stream)) == [1, 3] and len(stream.problems) == 1


def test_counts_and_draws() -> None:
    assert counts([0.5, 0.25, 0.25], 10) == [5, 3, 2] and sum(counts([1 / 3] * 3, 100)) == 100
    pool = np.arange(7)
    drawn = np.concatenate([draw(pool, 3, epoch, seed=0, number=0) for epoch in range(7)])
    assert Counter(drawn.tolist()) == dict.fromkeys(range(7), 3)


# -- order by length and modality -------------------------------------------------------------------------


def test_batches_hold_one_modality_and_about_one_length() -> None:
    rng = generator(0)
    lengths, has_images = rng.integers(1, 1000, 1003), rng.random(1003) < 0.4
    order = grouped(lengths, has_images, 8, rng)
    assert sorted(order.tolist()) == list(range(1003))
    batches = [order[i : i + 8] for i in range(0, 1003, 8)]
    pure = [len(set(has_images[batch].tolist())) == 1 for batch in batches]
    assert sum(not p for p in pure) <= 2 and all(pure[:-2])
    padded = sum(lengths[batch].max() * len(batch) for batch in batches)
    shuffled = rng.permutation(1003)
    unsorted = sum(lengths[shuffled[i : i + 8]].max() * len(shuffled[i : i + 8]) for i in range(0, 1003, 8))
    assert lengths.sum() / padded > 0.9 > lengths.sum() / unsorted
    assert lengths[batches[0]].max() == max(lengths[batch].max() for batch in batches[:-2])


class Recorder(torch.nn.Module):
    """A model that notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def forward(self, numbers, labels=None):
        self.seen.append(numbers.tolist())
        return {"loss": (self.weight * numbers).sum()}


def collate(records):
    return {"numbers": torch.tensor(answers(records))}


def run_trainer(data, folder: Path, **options) -> list[list[int]]:
    model = Recorder()
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        train_sampling_strategy="sequential",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        **{"num_train_epochs": 2, "save_strategy": "no", **options},
    )
    resume = options.pop("resume", None)
    Trainer(model, arguments, train_dataset=data, data_collator=collate).train(resume_from_checkpoint=resume)
    return model.seen


@pytest.mark.parametrize("workers", [0, 2])
def test_the_trainer_keeps_this_order_in_every_pass(workers: int, files: dict[str, str], tmp_path: Path) -> None:
    data = open_data(list(files.values())).grouped(4)
    options = {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
    seen = run_trainer(data, tmp_path / "run", **options)
    expected = []
    for epoch in (0, 1):
        data.set_epoch(epoch)
        numbers = answers(data)
        expected += [numbers[i : i + 4] for i in range(0, len(numbers), 4)]
    assert seen == expected and seen[:18] != seen[18:]


def test_a_stream_feeds_the_trainer(files: dict[str, str], tmp_path: Path) -> None:
    stream = open_data([{"path": path, "streaming": True} for path in files.values()])
    options = {"max_steps": 36, "accelerator_config": {"dispatch_batches": False}}
    seen = [number for batch in run_trainer(stream, tmp_path / "run", **options) for number in batch]
    assert set(Counter(seen).values()) == {2} and len(set(seen)) == 70, "two passes"
    assert seen[:70] != seen[70:]


@pytest.mark.parametrize("streaming", [False, True])
def test_devices_share_the_records_out(streaming: bool, files: dict[str, str]) -> None:
    """As accelerate does it for two processes, which `Trainer` leaves it to."""
    data = open_data([{"path": files[name], "streaming": streaming} for name in ("many", "both")])
    seen = []
    for device in (0, 1):
        loader = prepare_data_loader(
            DataLoader(data, batch_size=5, collate_fn=answers),
            num_processes=2,
            process_index=device,
            dispatch_batches=False,
        )
        seen.append([number for batch in loader for number in batch])
    assert len(seen[0]) == len(seen[1]) == 30 and sorted(seen[0] + seen[1]) == [*range(100, 140), *range(200, 220)]


# -- lengths and rows -------------------------------------------------------------------------------------


def test_tokens_are_counted_as_the_collator_makes_them(files: dict[str, str]) -> None:
    data = open_data(list(files.values()), shuffle=False)
    count, collator = TokenCounter(processor()), ConversationCollator(processor())
    measured = data.measured(count)
    for index in (0, 15, 61):
        assert measured.lengths[index] == count(data[index]) == collator([data[index]])["input_ids"].shape[1]
    assert TokenCounter(processor(), max_length=5)(data[0]) == 5


def test_rows_hold_every_conversation_once(files: dict[str, str]) -> None:
    data = open_data(list(files.values()))
    rows = data.measured(TokenCounter(processor())).packed(64, window=32)
    numbers = [answers(row) for row in rows]
    assert Counter(n for row in numbers for n in row) == counted(data)
    assert rows.filled > 0.85 and len(rows) < 70 / 2
    rows.set_epoch(1)
    again = [answers(row) for row in rows]
    assert again != numbers and sorted(again) == sorted(numbers)
    loader = DataLoader(rows, batch_size=4, collate_fn=ConversationCollator(processor(), packing=64))
    for batch in loader:
        assert batch["input_ids"].shape[0] <= 4 and batch["input_ids"].shape[1] <= 64
        assert "attention_mask" not in batch and batch["use_cache"] is False


def test_rows_of_a_stream(files: dict[str, str]) -> None:
    stream = open_data([{"path": path, "streaming": True} for path in files.values()])
    rows = list(stream.packed(TokenCounter(processor()), 64))
    assert Counter(n for row in rows for n in answers(row)) == counted(stream)
    assert len(rows) < 70 / 2
