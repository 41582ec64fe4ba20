"""The schedule, the parameter groups, the batches of an epoch, the loop, the validation loss, and resuming."""

import math

import pytest
import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.data import Dataset

import trainer
from dataset import MixedDataset
from fast.steps import fastest
from optimizer import parameter_groups
from safe.state import restore_trainer, trainer_state
from trainer import Diverged, Trainer, TrainerConfig, batches, lr_at

CPU = torch.device("cpu")


class Squares(Dataset):
    """y = 3 x - 1 with a plain __getitem__. Notes which rows are asked for."""

    def __init__(self, n: int):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked.append(i)
        x = torch.tensor([i / self.n])
        return x, 3 * x - 1


class BatchSquares(Squares):
    """The same through `batch`."""

    def batch(self, indices, generator=None):
        self.asked += indices.tolist()
        x = indices[:, None] / self.n
        return x, 3 * x - 1


class DrawnSquares(BatchSquares):
    """Rows with random noise, as span corruption has it."""

    def batch(self, indices, generator=None):
        x, y = super().batch(indices, generator)
        return x + torch.rand(x.shape, generator=generator), y


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x, y):
        prediction = self.linear(x)
        return prediction, ((prediction - y) ** 2).mean()


def make_trainer(model, dataset, config, test_dataset=None, **how) -> Trainer:
    return Trainer(model, dataset, test_dataset, config, show_progress=False, **how)


def paused_after_each_step(model, dataset, config, on_pause, **how) -> Trainer:
    paused = make_trainer(model, dataset, config, on_pause=on_pause, **how)
    paused.pause_at = 0
    return paused


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------------ schedule

COURSE = TrainerConfig(learning_rate=6e-3, lr_decay=True, warmup_tokens=512 * 20, final_tokens=650 * 2937 * 128)


@pytest.mark.parametrize(
    "tokens, share",
    [
        (0, 0.0),
        (2_560, 0.25),  # a quarter of the way up
        (10_240, 1.0),  # the peak: less than one batch of 128 x 128 tokens
        (16_384, 1.0),
        (10_240 + (650 * 2937 * 128 - 10_240) / 2, 0.5),
        (10_240 + (650 * 2937 * 128 - 10_240) * 3 / 4, (1 - math.sqrt(0.5)) / 2),
        (650 * 2937 * 128, 0.1),  # the floor
        (2 * 650 * 2937 * 128, 0.1),  # and there it stays: the cosine does not climb again
    ],
)
def test_the_rates_of_the_course(tokens, share):
    assert lr_at(tokens, COURSE) == pytest.approx(6e-3 * share, rel=1e-4)


def test_the_rate_rises_once_and_falls_once():
    config = TrainerConfig(learning_rate=1.0, lr_decay=True, warmup_tokens=100, final_tokens=1000, min_lr_share=0.0)
    rates = [lr_at(t, config) for t in range(2000)]
    assert all(a <= b for a, b in zip(rates[:100], rates[1:101], strict=True))
    assert all(a >= b for a, b in zip(rates[100:], rates[101:], strict=False))
    assert max(rates) == 1.0 and rates[-1] == 0.0


def test_without_decay_the_rate_is_constant():
    assert {lr_at(t, TrainerConfig(learning_rate=0.5)) for t in (0, 1, 10**9)} == {0.5}


@pytest.mark.parametrize(
    "bad",
    [
        dict(max_epochs=0),
        dict(batch_size=0),
        dict(log_every=0),
        dict(eval_every=0),
        dict(learning_rate=0.0),
        dict(seed=-1),
        dict(optimizer="sgd"),
    ],
)
def test_a_config_that_cannot_train_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad)).replace('_', '.')}"):
        TrainerConfig(**bad)


# --------------------------------------------------------------------------------------------------------- groups


def names_of(model, group) -> set[str]:
    ids = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in ids}


def test_only_weights_of_matrix_products_decay(make_model):
    """A filter on names that never match would decay LayerNorm gains and embeddings, as in the course's trainer."""
    model = make_model()
    decay, no_decay = parameter_groups(model, 0.1)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert names_of(model, decay) == linear
    assert decay["weight_decay"] == 0.1 and no_decay["weight_decay"] == 0.0
    assert {"tok_emb.weight", "pos_emb", "blocks.0.ln1.weight", "ln_f.bias", "blocks.1.mlp.0.bias"} <= names_of(
        model, no_decay
    )


def test_the_basis_of_the_latents_does_not_decay(make_model):
    """It has the shape of a weight and is an embedding."""
    model = make_model(variant="perceiver", n_layer=3)
    assert "down_block.C" in names_of(model, parameter_groups(model, 0.1)[1])


@pytest.mark.parametrize("everything", [False, True])
def test_each_parameter_is_in_exactly_one_group(make_model, everything):
    model = make_model()
    model.head.weight = model.tok_emb.weight  # shared, as in GPT-2
    groups = parameter_groups(model, 0.1, everything)
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}


def test_in_the_groups_of_the_course_only_biases_do_not_decay(make_model):
    model = make_model()
    _, no_decay = parameter_groups(model, 0.1, decay_gains_and_embeddings=True)
    assert names_of(model, no_decay) == {name for name, _ in model.named_parameters() if name.endswith("bias")}


# --------------------------------------------------------------------------------------------- batches of an epoch


@pytest.mark.parametrize("rows_at_once", [4, 8192], ids=["several draws", "one draw"])
@pytest.mark.parametrize("kind", [Squares, BatchSquares, DrawnSquares])
def test_batches_from_any_number_on_are_the_tail_of_all_batches(monkeypatch, kind, rows_at_once):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", rows_at_once)
    config = TrainerConfig(batch_size=2, seed=5)
    for epoch in (0, 1, 2):
        whole = list(batches(kind(11), config, CPU, epoch))
        assert [len(x) for x, _ in whole] == [2, 2, 2, 2, 2, 1]
        for first in range(7):
            torch.manual_seed(99)  # batches do not depend on the global generator
            tail = list(batches(kind(11), config, CPU, epoch, first))
            assert len(tail) == 6 - first
            for (x, y), (expected_x, expected_y) in zip(tail, whole[first:], strict=True):
                assert torch.equal(x, expected_x) and torch.equal(y, expected_y)


def test_batches_of_questions_mixed_with_documents_are_the_tail_of_all_batches(monkeypatch, corpus, questions):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", 8)
    mixed, config = MixedDataset(corpus, questions, 0.5), TrainerConfig(batch_size=4)
    whole = list(batches(mixed, config, CPU, 1))
    for first in range(len(whole) + 1):
        tail = list(batches(mixed, config, CPU, 1, first))
        assert all(torch.equal(a, b) for a, b in zip(sum(tail, ()), sum(whole[first:], ()), strict=True))


@pytest.mark.parametrize("kind", [Squares, BatchSquares])
def test_epoch_0_keeps_the_rows_in_order(kind):
    x = torch.cat([x for x, _ in batches(kind(11), TrainerConfig(batch_size=4), CPU, epoch=0)])
    assert torch.equal(x[:, 0], torch.arange(11) / 11)


def test_batches_differ_between_epochs_and_between_seeds():
    def drawn(epoch: int, seed: int) -> torch.Tensor:
        return torch.cat([x for x, _ in batches(DrawnSquares(11), TrainerConfig(seed=seed), CPU, epoch)])

    found = [drawn(epoch, seed) for epoch in (1, 2, 3) for seed in (0, 1, 2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_each_group_of_rows_that_is_drawn_together_has_draws_of_its_own(monkeypatch):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", 4)
    drawn = []

    class Drawing(BatchSquares):
        def batch(self, indices, generator=None):
            drawn.append(torch.rand((), generator=generator).item())
            return super().batch(indices, generator)

    make_trainer(Line(), Drawing(10), TrainerConfig(max_epochs=3, batch_size=2)).train()
    assert len(drawn) == len(set(drawn)) == 9


@pytest.mark.parametrize("block_size, together", [(1, 8), (2**17, 8), (2**18, 4), (2**20, 2), (2**30, 2)])
def test_fewer_long_rows_are_drawn_together(block_size, together):
    asked = []

    class Long(BatchSquares):
        def batch(self, indices, generator=None):
            asked.append(len(indices))
            return super().batch(indices, generator)

    dataset = Long(8)
    dataset.block_size = block_size
    make_trainer(Line(), dataset, TrainerConfig(max_epochs=1, batch_size=2)).train()
    assert asked == [together] * (8 // together)


def test_the_data_loader_has_as_many_processes_as_configured(monkeypatch):
    asked, loader = [], trainer.DataLoader

    def noted(*arguments, num_workers, **options):
        asked.append(num_workers)
        return loader(*arguments, **options)

    monkeypatch.setattr(trainer, "DataLoader", noted)
    make_trainer(Line(), Squares(4), TrainerConfig(max_epochs=1, num_workers=3)).train()
    assert asked == [3]


# ------------------------------------------------------------------------------------------------------------ loop


@pytest.mark.parametrize("kind", [Squares, BatchSquares])
def test_every_epoch_sees_every_row_once_in_another_order(kind):
    rows = kind(10)
    log = []
    config = TrainerConfig(max_epochs=3, batch_size=4, log_every=1)
    result = make_trainer(Line(), rows, config, on_log=log.append).train()
    epochs = [rows.asked[i : i + 10] for i in (0, 10, 20)]
    assert len(rows.asked) == 30 and all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != list(range(10))
    assert result["step"] == 9, "the last, smaller batch of an epoch is a step too"
    assert [line["step"] for line in log] == list(range(1, 10))
    assert [line["tokens"] for line in log][:3] == [4, 8, 10]


@pytest.mark.parametrize("kind", [Squares, BatchSquares])
def test_any_dataset_trains_any_model(kind):
    model = Line()
    config = TrainerConfig(max_epochs=200, batch_size=16, learning_rate=0.05, weight_decay=0.0)
    assert make_trainer(model, kind(64), config).train()["loss"] < 1e-4
    assert model.linear.weight.item() == pytest.approx(3, abs=0.05)


def test_the_plain_loop_equals_a_loop_written_out(corpus, make_model):
    """20 steps of AdamW with dropout and the schedule: the parameters are the same bits."""
    config = TrainerConfig(
        max_epochs=7,
        batch_size=3,
        learning_rate=1e-2,
        lr_decay=True,
        warmup_tokens=500,
        final_tokens=4000,
        seed=3,
    )
    torch.manual_seed(1)
    trained = make_model(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1)
    result = make_trainer(trained, corpus, config).train()

    torch.manual_seed(1)
    model = make_model(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1)
    weights = {module.weight for module in model.modules() if isinstance(module, nn.Linear)}
    groups = [
        {"params": [p for p in model.parameters() if p in weights], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p not in weights], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    tokens = step = 0
    for epoch in range(1, 8):
        for x, y in batches(corpus, config, CPU, epoch):
            tokens += x.numel()
            for group in optimizer.param_groups:
                group["lr"] = lr_at(tokens, config)
            logits = model(x)[0]
            loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
    assert result["step"] == step == 21
    assert same_bits(trained, model)


def test_the_same_seed_trains_the_same_model(corpus, make_model):
    def train(seed):
        torch.manual_seed(0)
        model = make_model()
        make_trainer(model, corpus, TrainerConfig(max_epochs=2, batch_size=4, seed=seed)).train()
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(train(1), train(1)) and not torch.equal(train(1), train(2))


def test_a_step_is_adamw_at_the_rate_of_the_schedule():
    """The first AdamW step moves every parameter by the learning rate, against its gradient."""
    schedule = dict(learning_rate=0.1, lr_decay=True, warmup_tokens=8, final_tokens=16)
    model, config = Line(), TrainerConfig(max_epochs=1, batch_size=4, weight_decay=0.0, **schedule)
    before = model.linear.weight.item()
    line = make_trainer(model, BatchSquares(4), config).train()
    assert line["lr"] == pytest.approx(0.05), "4 of 8 warmup tokens, this step's own included"
    assert abs(model.linear.weight.item() - before) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizer_has_the_betas_of_the_config(corpus, make_model, optimizer):
    config = TrainerConfig(betas=(0.5, 0.6), optimizer=optimizer)
    groups = make_trainer(make_model(), corpus, config).optimizer.param_groups
    assert all(group["betas"] == (0.5, 0.6) for group in groups)


def test_gradients_are_clipped():
    class Steep(Line):
        def forward(self, x, y):
            prediction, loss = super().forward(x, y)
            return prediction, loss * 1e6

    model = Steep()
    line = make_trainer(model, BatchSquares(4), TrainerConfig(max_epochs=1, batch_size=4)).train()
    assert line["grad_norm"] > 1e3, "the log shows the norm before clipping"
    assert torch.cat([p.grad.flatten() for p in model.parameters()]).norm() == pytest.approx(1.0, rel=1e-4)


def test_the_log_averages_the_losses_since_its_last_line():
    every, third = [], []
    for log, n in ((every, 1), (third, 3)):
        torch.manual_seed(0)
        config = TrainerConfig(max_epochs=3, batch_size=4, log_every=n)
        make_trainer(Line(), BatchSquares(12), config, on_log=log.append).train()
    assert [line["step"] for line in third] == [3, 6, 9]
    mean = sum(line["loss"] for line in every[:3]) / 3
    assert third[0]["loss"] == pytest.approx(mean, rel=1e-5)
    assert third[0].keys() == {"step", "epoch", "tokens", "loss", "lr", "grad_norm", "tokens_per_second"}


def test_the_trainer_pauses_between_steps_once_the_time_has_come():
    asked = []

    def on_pause(trainer):
        asked.append(trainer.steps_done)
        trainer.pause_at = 0 if trainer.steps_done < 3 else math.inf

    paused_after_each_step(Line(), BatchSquares(8), TrainerConfig(max_epochs=2, batch_size=2), on_pause).train()
    assert asked == [1, 2, 3]


def test_the_step_of_a_caller_replaces_the_plain_step():
    given = []

    def step(x, y, note):
        given.append((len(x), len(y), note))
        return torch.tensor(2.0), torch.tensor(3.0)

    def split(x, y, size):
        return zip(x.split(size), y.split(size), ["first", "second"], strict=True)

    model = Line()
    before = [p.detach().clone() for p in model.parameters()]
    config = TrainerConfig(max_epochs=1, batch_size=4)
    line = make_trainer(model, BatchSquares(6), config, step=step, split=split).train()
    assert given == [(4, 4, "first"), (2, 2, "second")]
    assert (line["loss"], line["grad_norm"]) == (2, 3)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# ------------------------------------------------------------------------------------------------- validation loss


class Unequal(Dataset):
    """130 rows of 12 tokens: one target in each of the first 128, 12 in the others. Targets equal to 0 are ignored."""

    ignore_index = 0

    def __init__(self, vocab_size: int):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randint(1, vocab_size, (2, 130, 12), generator=generator)
        self.y[:128, :-1] = 0

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class BatchUnequal(Unequal):
    def batch(self, indices, generator=None):
        return self.x[indices], self.y[indices]


@pytest.mark.parametrize("kind", [Unequal, BatchUnequal])
def test_the_validation_loss_is_the_mean_over_targets(make_model, kind):
    """Not a mean of batch means, nor a sum."""
    model = make_model()
    with torch.no_grad():
        model.head.weight.mul_(300)  # so that the losses of targets are far apart
    rows = kind(model.config.vocab_size)
    logits = model(rows.x)[0]
    losses = F.cross_entropy(logits.flatten(0, 1), rows.y.flatten(), ignore_index=0, reduction="sum")
    expected = (losses / (rows.y != 0).sum()).item()
    found = make_trainer(model, rows, TrainerConfig(batch_size=128)).evaluate_loss(rows)
    assert found == pytest.approx(expected, rel=1e-5)
    with torch.no_grad():
        batch_means = [model(x, y)[1].item() for x, y in zip(rows.x.split(128), rows.y.split(128), strict=True)]
    assert abs(sum(batch_means) / 2 - expected) > 0.1, "the test would not see a mean of batch means"


def test_batches_without_targets_do_not_count_in_the_validation_loss(make_model):
    model = make_model()
    rows = BatchUnequal(model.config.vocab_size)
    rows.y[:128] = 0
    logits = model(rows.x[128:])[0]
    expected = F.cross_entropy(logits.flatten(0, 1), rows.y[128:].flatten()).item()
    found = make_trainer(model, rows, TrainerConfig(batch_size=64)).evaluate_loss(rows)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("eval_every, epochs", [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_the_validation_loss_is_logged_every_few_epochs_and_after_the_last(eval_every, epochs):
    log, held_out = [], BatchSquares(8)
    config = TrainerConfig(max_epochs=5, batch_size=4, eval_every=eval_every)
    run = make_trainer(Line(), BatchSquares(8), config, held_out, on_log=log.append)
    run.train()
    lines = [line for line in log if "validation_loss" in line]
    assert [line["epoch"] for line in lines] == epochs
    assert [line["step"] for line in lines] == [2 * epoch for epoch in epochs]
    assert lines[-1]["validation_loss"] == pytest.approx(run.evaluate_loss(held_out))
    assert lines[-1].keys() == {"step", "epoch", "tokens", "validation_loss"}


def test_validation_changes_neither_the_parameters_nor_the_log(corpus, questions, make_model):
    def train(held_out):
        torch.manual_seed(0)
        model, log = make_model(resid_pdrop=0.5), []
        config = TrainerConfig(max_epochs=3, batch_size=4, log_every=1)
        make_trainer(model, corpus, config, held_out, on_log=log.append).train()
        return model, [line["loss"] for line in log if "loss" in line]

    (without, losses), (validated, same_losses) = train(None), train(questions)
    assert same_bits(without, validated) and losses == same_losses


def test_dropout_is_on_in_training_and_off_in_validation(corpus, make_model):
    model, modes = make_model(resid_pdrop=0.5).eval(), []
    config = TrainerConfig(max_epochs=2, batch_size=9)
    run = paused_after_each_step(model, corpus, config, lambda run: modes.append(model.training), test_dataset=corpus)
    run.train()
    assert modes == [True, True]
    assert run.evaluate_loss(corpus) == run.evaluate_loss(corpus)
    assert model.training, "as before"


# -------------------------------------------------------------------------------------------- resuming, and bad numbers


@pytest.mark.parametrize("rows_at_once", [2, 8192], ids=["several draws", "one draw"])
@pytest.mark.parametrize("kind", [Squares, BatchSquares, DrawnSquares])
def test_a_run_continues_from_its_state_after_any_step(monkeypatch, kind, rows_at_once):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", rows_at_once)
    config = TrainerConfig(max_epochs=2, batch_size=2, log_every=3, learning_rate=0.1)

    def make(on_pause=None):
        torch.manual_seed(0)
        log = []
        return make_trainer(Line(), kind(5), config, kind(5), on_log=log.append, on_pause=on_pause), log

    states = []
    whole, whole_log = make(lambda run: states.append((trainer_state(run), len(whole_log))))
    whole.pause_at = 0
    whole.train()
    assert len(states) == 6
    for state, lines in states:
        run, log = make()
        torch.manual_seed(99)
        restore_trainer(run, state)
        result = run.train()
        assert run.steps_done == 6 and result["tokens"] == 10
        assert same_bits(run.model, whole.model)
        for name in ("step", "loss", "validation_loss"):
            assert [line.get(name) for line in whole_log[:lines] + log] == [line.get(name) for line in whole_log]


@pytest.mark.parametrize("way", ["plain", "fast"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_model_with_dropout_continues_with_the_same_bits(corpus, questions, make_model, way, optimizer):
    config = TrainerConfig(max_epochs=2, batch_size=4, learning_rate=1e-2, optimizer=optimizer)
    mixed = MixedDataset(corpus, questions, 1 / 3)

    def make(seed, on_pause=None):
        torch.manual_seed(seed)
        model = make_model(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1)
        ways = {} if way == "plain" else fastest(model, mixed, config)[0]
        return make_trainer(model, mixed, config, on_pause=on_pause, **ways)

    states = []
    whole = make(0, lambda run: states.append(trainer_state(run)))
    whole.pause_at = 0
    whole.train()
    assert len(states) == whole.total_steps == 6
    for state in states[:-1]:
        run = make(1)
        restore_trainer(run, state)
        run.train()
        assert run.steps_done == 6 and same_bits(run.model, whole.model)


def test_a_state_is_a_copy_that_training_does_not_change():
    run = make_trainer(Line(), BatchSquares(8), TrainerConfig(batch_size=4))
    state = trainer_state(run)
    before = state["model"]["linear.weight"].clone()
    run.train()
    assert torch.equal(state["model"]["linear.weight"], before)


def test_a_continued_run_adds_up_tokens_and_seconds_but_not_its_speed():
    log = []
    run = make_trainer(Line(), BatchSquares(8), TrainerConfig(max_epochs=1, batch_size=4), on_log=log.append)
    before = {"tokens": 10**12, "seconds": 1e6, "loss_steps": 3}
    restore_trainer(run, trainer_state(run) | before)
    assert 1e6 <= trainer_state(run)["seconds"] < 1e6 + 600
    assert run.train()["seconds"] >= 1e6
    assert log[-1]["tokens"] > 10**12
    assert log[-1]["tokens_per_second"] < 10**9, "of the tokens since it continued"


def test_the_state_of_another_trainer_is_refused():
    run = make_trainer(Line(), BatchSquares(8), TrainerConfig(batch_size=4))
    with pytest.raises(ValueError, match="step 999"):
        restore_trainer(run, trainer_state(run) | {"steps": 999})
    for name, value in [("steps", 1.5), ("seconds", "x"), ("loss_steps", None), ("line", 3), ("loss_sum", math.nan)]:
        with pytest.raises(TypeError, match=f"{name} is not a"):
            restore_trainer(run, trainer_state(run) | {name: value})
    with pytest.raises(RuntimeError, match="[Mm]issing"):
        restore_trainer(run, trainer_state(run) | {"model": {}})


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_training_ends_when_a_number_is_not_finite(where):
    class Sometimes(Line):
        """Its loss or its gradient is not a number for the rows from 0.7 on."""

        def forward(self, x, y):
            prediction, loss = super().forward(x, y)
            bad = torch.nan if (x >= 0.7).any() else 0.0
            if where == "loss":
                return prediction, loss + bad * prediction.mean()
            prediction.register_hook(lambda gradient: gradient + bad)
            return prediction, loss

    log = []
    config = TrainerConfig(max_epochs=1, batch_size=1, log_every=5)
    message = "the loss is nan" if where == "loss" else "the loss is .* the norm of the gradient nan"
    with pytest.raises(Diverged, match=f"step (5|10): {message}.* at the learning rate 3.0e-04.* lower the rate"):
        make_trainer(Sometimes(), BatchSquares(10), config, on_log=log.append).train()
    assert all(math.isfinite(line["loss"] + line["grad_norm"]) for line in log)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_there_is_no_state_of_parameters_or_losses_that_are_not_finite(bad):
    run = make_trainer(Line(), BatchSquares(8), TrainerConfig(batch_size=4))
    run.loss_sum.fill_(bad)
    with pytest.raises(Diverged, match="step 0: the loss is not finite"):
        trainer_state(run)
    run.loss_sum.zero_()
    run.model.linear.bias.data.fill_(bad)
    with pytest.raises(Diverged, match="step 0: a parameter is not finite"):
        trainer_state(run)
