"""Properties of the schedule, the optimizer's groups and the loop."""

import dataclasses
import math

import pytest
import torch
import torch.nn as nn
from conftest import needs_cuda
from torch.utils.data import Dataset

import trainer
from attention import VARIANTS
from optimizer import parameter_groups
from trainer import Diverged, Trainer, TrainerConfig, lr_at


class Squares(Dataset):
    """y = 3 x - 1 with a plain __getitem__, and a note of what was asked for."""

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


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x, y):
        prediction = self.linear(x)
        return prediction, ((prediction - y) ** 2).mean()


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
def test_golden_rates_of_the_course(tokens, share):
    assert lr_at(tokens, COURSE) == pytest.approx(6e-3 * share, rel=1e-4)


def test_the_rate_rises_once_and_falls_once():
    config = TrainerConfig(learning_rate=1.0, lr_decay=True, warmup_tokens=100, final_tokens=1000, min_lr_share=0.0)
    rates = [lr_at(t, config) for t in range(2000)]
    assert all(a <= b for a, b in zip(rates[:100], rates[1:101], strict=True))
    assert all(a >= b for a, b in zip(rates[100:], rates[101:], strict=False))
    assert max(rates) == 1.0 and rates[-1] == 0.0


def test_without_decay_the_rate_is_constant():
    assert {lr_at(t, TrainerConfig(learning_rate=0.5)) for t in (0, 1, 10**9)} == {0.5}


@pytest.mark.parametrize("bad", [dict(max_epochs=0), dict(batch_size=0), dict(learning_rate=0.0)])
def test_a_config_that_cannot_train_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad)).replace('_', '.')}"):
        TrainerConfig(**bad)


# --------------------------------------------------------------------------------------------------------- groups


def names_of(model, group) -> set[str]:
    ids = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in ids}


def test_only_weights_of_matrix_products_decay(make_model):
    """Mistake 8: a filter on names that never matches decays LayerNorm gains and embeddings."""
    model = make_model()
    decay, no_decay = parameter_groups(model, 0.1)
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert names_of(model, decay) == linear
    assert decay["weight_decay"] == 0.1 and no_decay["weight_decay"] == 0.0
    assert {"tok_emb.weight", "pos_emb", "blocks.0.ln1.weight", "ln_f.bias", "blocks.1.mlp.0.bias"} <= names_of(
        model, no_decay
    )


def test_a_basis_of_latents_does_not_decay(make_model):
    """It has the shape of a weight and is an embedding."""
    model = make_model(variant="perceiver", n_layer=3)
    assert "down_block.C" in names_of(model, parameter_groups(model, 0.1)[1])


@pytest.mark.parametrize("everything", [False, True])
def test_each_parameter_is_in_exactly_one_group(make_model, everything):
    model = make_model()
    model.head.weight = model.tok_emb.weight  # shared, as GPT-2 has it
    groups = parameter_groups(model, 0.1, everything)
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}


def test_the_courses_groups_spare_biases_only(make_model):
    model = make_model()
    _, no_decay = parameter_groups(model, 0.1, decay_gains_and_embeddings=True)
    assert names_of(model, no_decay) == {name for name, _ in model.named_parameters() if name.endswith("bias")}


# ------------------------------------------------------------------------------------------------------------ loop


@pytest.mark.parametrize("kind", [Squares, BatchSquares])
def test_every_row_is_seen_once_an_epoch_in_another_order(kind):
    rows = kind(10)
    log = []
    result = Trainer(Line(), rows, None, TrainerConfig(max_epochs=3, batch_size=4, log_every=1), log.append).train()
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
    assert Trainer(model, kind(64), None, config).train()["loss"] < 1e-4
    assert model.linear.weight.item() == pytest.approx(3, abs=0.05)


def test_rows_are_made_by_as_many_processes_as_asked(monkeypatch):
    asked, loader = [], trainer.DataLoader

    def noted(*arguments, num_workers, **options):
        asked.append(num_workers)
        return loader(*arguments, **options)

    monkeypatch.setattr(trainer, "DataLoader", noted)
    Trainer(Line(), Squares(4), None, TrainerConfig(max_epochs=1, num_workers=3)).train()
    assert asked == [3]


def test_the_same_seed_trains_the_same_model(corpus, make_model):
    def train(seed):
        torch.manual_seed(0)
        model = make_model()
        Trainer(model, corpus, None, TrainerConfig(max_epochs=2, batch_size=4, seed=seed)).train()
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(train(1), train(1)) and not torch.equal(train(1), train(2))


def test_a_step_is_adamw_at_the_rate_of_the_schedule():
    """One step by hand: the first AdamW step moves every parameter by the learning rate, against its gradient."""
    model, config = Line(), TrainerConfig(
        max_epochs=1, batch_size=4, learning_rate=0.1, weight_decay=0.0, lr_decay=True, warmup_tokens=8, final_tokens=16
    )
    before = model.linear.weight.item()
    line = Trainer(model, BatchSquares(4), None, config).train()
    assert line["lr"] == pytest.approx(0.05), "4 of 8 warmup tokens, this step's own included"
    assert abs(model.linear.weight.item() - before) == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_optimizer_averages_as_far_back_as_the_config_says(corpus, make_model, optimizer):
    config = TrainerConfig(betas=(0.5, 0.6), optimizer=optimizer)
    groups = Trainer(make_model(), corpus, None, config).optimizer.param_groups
    assert all(group["betas"] == (0.5, 0.6) for group in groups)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_rows_of_like_length_together_have_the_gradients_of_the_batch(corpus, make_model, variant, monkeypatch):
    """On a CPU a few rows at a time are computed, as wide as the longest of them."""
    monkeypatch.setattr(trainer, "ROWS_TOGETHER", 3)
    model = make_model(variant=variant, n_layer=3)
    x, y = corpus.batch(torch.arange(8))
    y[3] = 0  # a row without a target
    expected = model(x, y)[1]
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    widths = []
    model.register_forward_pre_hook(lambda module, arguments: widths.append(arguments[0].shape[1]))
    steps = Trainer(model, corpus, None, TrainerConfig(batch_size=8, grad_norm_clip=1e9))
    loss, _ = steps._update(x, y, None)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close([p.grad for p in model.parameters()], list(gradients), rtol=1e-3, atol=1e-6)
    assert len(widths) == 3 and widths == sorted(widths) and widths[0] < widths[-1]


def test_gradients_are_clipped():
    class Steep(Line):
        def forward(self, x, y):
            prediction, loss = super().forward(x, y)
            return prediction, loss * 1e6

    model = Steep()
    line = Trainer(model, BatchSquares(4), None, TrainerConfig(max_epochs=1, batch_size=4)).train()
    assert line["grad_norm"] > 1e3, "the log shows the norm before clipping"
    assert torch.cat([p.grad.flatten() for p in model.parameters()]).norm() == pytest.approx(1.0, rel=1e-4)


def test_the_log_averages_the_losses_since_its_last_line():
    every, third = [], []
    for log, n in ((every, 1), (third, 3)):
        torch.manual_seed(0)
        config = TrainerConfig(max_epochs=3, batch_size=4, log_every=n)
        Trainer(Line(), BatchSquares(12), None, config, log.append).train()
    assert [line["step"] for line in third] == [3, 6, 9]
    mean = sum(line["loss"] for line in every[:3]) / 3
    assert third[0]["loss"] == pytest.approx(mean, rel=1e-5)
    assert third[0].keys() == {"step", "epoch", "tokens", "loss", "lr", "grad_norm", "tokens_per_second"}


def test_the_test_loss_is_logged_every_epoch():
    log = []
    trainer = Trainer(Line(), BatchSquares(8), Squares(8), TrainerConfig(max_epochs=2, batch_size=4), log.append)
    trainer.train()
    losses = [line["test_loss"] for line in log if "test_loss" in line]
    assert len(losses) == 2 and losses[-1] == pytest.approx(trainer.evaluate_loss(Squares(8)))


def test_dropout_is_for_training_and_not_for_the_test_loss(corpus, make_model):
    model, modes = make_model(resid_pdrop=0.5).eval(), []
    config = TrainerConfig(max_epochs=2, batch_size=9)
    trainer = Trainer(model, corpus, corpus, config, on_step=lambda trainer: modes.append(model.training))
    trainer.train()
    assert modes == [True, True]
    assert trainer.evaluate_loss(corpus) == trainer.evaluate_loss(corpus)
    assert model.training, "as it was"


# -------------------------------------------------------------------------------------------- resuming, and bad numbers


@pytest.mark.parametrize("kind", [Squares, BatchSquares])
def test_a_state_continues_the_run_from_any_step(kind):
    config = TrainerConfig(max_epochs=2, batch_size=4, log_every=3, learning_rate=0.1)

    def make(on_step=None):
        torch.manual_seed(0)
        log = []
        return Trainer(Line(), kind(10), kind(5), config, log.append, on_step), log

    states = []
    whole, whole_log = make(lambda trainer: states.append((trainer.state(), len(whole_log))))
    whole.train()
    assert len(states) == 6
    for state, lines in states:
        trainer, log = make()
        torch.manual_seed(99)
        trainer.load_state(state)
        assert trainer.train()["tokens"] == 20
        assert torch.equal(trainer.model.linear.weight, whole.model.linear.weight)
        assert [line.get("loss") for line in whole_log[:lines] + log] == [line.get("loss") for line in whole_log]


def test_a_continued_run_counts_what_was_before_and_its_speed_is_its_own():
    log = []
    config = TrainerConfig(max_epochs=1, batch_size=4, skip_nonfinite=True)
    trainer = Trainer(Line(), BatchSquares(8), None, config, log.append)
    before = {"tokens": 10**12, "seconds": 1e6, "loss_steps": 3, "skipped": 2.0}
    trainer.load_state(trainer.state() | before)
    state = trainer.state()
    assert 1e6 <= state["seconds"] < 1e6 + 600 and state["skipped"] == 2
    assert trainer.train()["seconds"] >= 1e6
    assert log[-1]["tokens"] > 10**12 and log[-1]["skipped"] == 2
    assert log[-1]["tokens_per_second"] < 10**9, "of the tokens since it continued"


def test_a_state_of_another_model_is_refused(make_model):
    trainer = Trainer(Line(), BatchSquares(8), None, TrainerConfig(batch_size=4))
    with pytest.raises(ValueError, match="step 999"):
        trainer.load_state(trainer.state() | {"step": 999})
    for name, value in [("step", 1.5), ("seconds", "x"), ("loss_steps", None), ("line", 3), ("loss_sum", math.nan)]:
        with pytest.raises(TypeError, match=f"{name} is no "):
            trainer.load_state(trainer.state() | {name: value})
    with pytest.raises(RuntimeError, match="[Mm]issing"):
        trainer.load_state(trainer.state() | {"model": {}})


class Sometimes(Line):
    """Its loss is no number for the rows from 0.7 on."""

    def forward(self, x, y):
        prediction, loss = super().forward(x, y)
        return prediction, loss + (torch.nan if (x >= 0.7).any() else 0.0) * prediction.mean()


def test_bad_steps_can_be_left_out_and_are_counted():
    log = []
    config = TrainerConfig(max_epochs=40, batch_size=1, learning_rate=0.05, weight_decay=0.0, log_every=10)
    with pytest.raises(Diverged, match="the loss is nan"):
        Trainer(Sometimes(), BatchSquares(10), None, config).train()
    model = Sometimes()
    skipping = dataclasses.replace(config, skip_nonfinite=True)
    trainer = Trainer(model, BatchSquares(10), None, skipping, log.append)
    trainer.train()
    assert [line["skipped"] for line in log] == [3] * 40, "of 10 steps an epoch"
    assert all(math.isfinite(line["loss"] + line["grad_norm"]) for line in log)
    assert {state["step"].item() for state in trainer.optimizer.state.values()} == {280.0}
    assert model.linear.weight.item() == pytest.approx(3, abs=0.3), "the others taught it"
    assert log[-1]["loss"] < 0.01


@pytest.mark.parametrize("bad", [1, 11])
def test_a_bad_step_before_a_checkpoint_or_at_the_end_is_left_out_too(bad):
    class Once(Line):
        steps = 0

        def forward(self, x, y):
            self.steps += 1
            prediction, loss = super().forward(x, y)
            return prediction, loss * (torch.nan if self.steps == bad else 1.0)

    log, states = [], []
    config = TrainerConfig(max_epochs=11, batch_size=4, log_every=10, skip_nonfinite=True)
    trainer = Trainer(Once(), BatchSquares(4), None, config, log.append, lambda trainer: states.append(trainer.state()))
    assert math.isfinite(trainer.train()["loss"]) and len(states) == 11
    assert [line["skipped"] for line in log] == ([1, 0] if bad == 1 else [0, 1])
    assert (log[1]["loss"] == log[0]["loss"]) == (bad == 11), "a line about nothing repeats the last"


def test_leaving_out_nothing_changes_nothing():
    def train(**changes):
        torch.manual_seed(0)
        model = Line()
        Trainer(model, BatchSquares(12), None, TrainerConfig(max_epochs=3, batch_size=4, **changes)).train()
        return model.linear.weight

    assert torch.equal(train(), train(skip_nonfinite=True))


def test_when_every_step_is_bad_there_is_no_going_on():
    class Never(Line):
        def forward(self, x, y):
            prediction, loss = super().forward(x, y)
            return prediction, loss * torch.inf

    with pytest.raises(Diverged, match="after leaving out every step"):
        Trainer(Never(), BatchSquares(8), None, TrainerConfig(batch_size=4, skip_nonfinite=True)).train()


# ---------------------------------------------------------------------------------------------------- compiling


def no_compiler(*arguments, **options):
    def compiled(*arguments):
        raise RuntimeError("No working C compiler found\nand so on")

    return compiled


def test_a_machine_that_cannot_compile_is_found_out_beforehand(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert trainer.obstacle_to_compiling(torch.device("cpu")) is None
    monkeypatch.setattr(torch, "compile", no_compiler)
    assert trainer.obstacle_to_compiling(torch.device("cpu")) == "No working C compiler found"


@needs_cuda
def test_a_long_run_goes_on_without_a_compiler(monkeypatch, corpus, make_model):
    monkeypatch.setattr(trainer, "STEPS_TO_COMPILE", 1)
    monkeypatch.setattr(torch, "compile", no_compiler)
    run = Trainer(make_model().cuda(), corpus.to("cuda"), None, TrainerConfig(max_epochs=2, batch_size=4))
    assert "not compiled (No working C compiler found)" in str(run)
    assert math.isfinite(run.train()["loss"])


# ------------------------------------------------------------------------- epochs of more rows than are made together


def test_no_two_draws_are_the_same(monkeypatch):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", 4)
    drawn = []

    class Drawing(BatchSquares):
        def batch(self, indices, generator=None):
            drawn.append(torch.rand((), generator=generator).item())
            return super().batch(indices, generator)

    Trainer(Line(), Drawing(10), None, TrainerConfig(max_epochs=3, batch_size=2)).train()
    assert len(drawn) == len(set(drawn)) == 9


@pytest.mark.parametrize("block_size, together", [(1, 8), (2**17, 8), (2**18, 4), (2**20, 2), (2**30, 2)])
def test_fewer_long_rows_are_made_together(block_size, together):
    asked = []

    class Long(BatchSquares):
        def batch(self, indices, generator=None):
            asked.append(len(indices))
            return super().batch(indices, generator)

    dataset = Long(8)
    dataset.block_size = block_size
    Trainer(Line(), dataset, None, TrainerConfig(max_epochs=1, batch_size=2)).train()
    assert asked == [together] * (8 // together)


def test_a_run_goes_on_from_any_of_them(monkeypatch):
    monkeypatch.setattr(trainer, "ROWS_AT_ONCE", 4)

    def make(on_step=None):
        torch.manual_seed(0)
        return Trainer(Line(), BatchSquares(10), None, TrainerConfig(max_epochs=2, batch_size=2), None, on_step)

    states = []
    whole = make(lambda run: states.append(run.state()))
    whole.train()
    for state in states:
        run = make()
        run.load_state(state)
        run.train()
        assert run.step == 10 and torch.equal(run.model.linear.weight, whole.model.linear.weight)
