"""A state that somebody else made is refused with the name of what is wrong, and changes nothing of the trainer."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import make_optimizer
from safe.state import restore_trainer, trainer_state
from trainer import Trainer, TrainerConfig


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.full((3,), i / 8), torch.full((2,), i / 4)


class Net(torch.nn.Module):
    """A hidden matrix, a head and a bias; `frozen` has no gradient, and `unused` never gets one."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
        self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.unused = torch.nn.Parameter(torch.ones(2))
        self.register_buffer("mask", torch.full((2, 2), -math.inf))

    def forward(self, x, y):
        answer = self.head(self.hidden(x)) * self.frozen
        return answer, (answer - y).square().mean()


def trained(optimizer: str, fused: bool = False) -> tuple[Trainer, dict]:
    """A trainer of 4 steps that has done them, and its state after 2."""
    torch.manual_seed(0)
    config = TrainerConfig(max_epochs=2, batch_size=4, log_every=1, optimizer=optimizer)
    net, states = Net(), []
    trainer = Trainer(
        net,
        Rows(),
        None,
        config,
        optimizer=make_optimizer(net, config, fused=fused),
        on_pause=lambda run: states.append(trainer_state(run)),
        show_progress=False,
    )
    trainer.pause_at = 0
    trainer.train()
    trainer.pause_at = math.inf
    return trainer, states[1]


RUNS = {(optimizer, fused): trained(optimizer, fused) for optimizer in ("adamw", "muon") for fused in (False, True)}
runs = pytest.mark.parametrize("run", RUNS, ids=str)


def picture(trainer: Trainer) -> dict:
    return copy.deepcopy(
        {
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "numbers": (trainer.steps_done, trainer.tokens, trainer.seconds, trainer.loss_sum, trainer.loss_steps),
            "line": trainer.line,
        }
    )


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def refused(run, change) -> str:
    """The message with which the changed state is refused. The trainer stays as it was."""
    trainer, state = RUNS[run]
    forged = copy.deepcopy(state)
    change(forged)
    before = picture(trainer)
    with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
        restore_trainer(trainer, forged)
    assert same(picture(trainer), before)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value) and len(str(error.value)) < 200
    return str(error.value)


@runs
def test_the_state_of_parameters_without_gradient_may_be_missing(run):
    _, state = RUNS[run]
    trainer, _ = trained(*run)
    assert len(state["optimizer"]) == 4 < len(list(trainer.model.parameters()))
    restore_trainer(trainer, copy.deepcopy(state))
    again = trainer_state(trainer)
    assert all(same(again[name], state[name]) for name in state.keys() - {"seconds"})
    trainer.train()
    assert same(trainer.model.state_dict(), RUNS[run][0].model.state_dict())


def places(state: dict, prefix: tuple = ()) -> list[tuple]:
    """Where the values of nested dicts are, the dicts included."""
    found = []
    for name, value in state.items():
        found.append((*prefix, name))
        if isinstance(value, dict):
            found += places(value, (*prefix, name))
    return found


def nested() -> list:
    value: list = []
    for _ in range(10**5):
        value = [value]
    return value


ODD = [None, True, "1", b"1", 10**400, -(10**400), -1, -1.0, math.nan, math.inf, -math.inf, 1j, [1], (1,), {1: 2}, {}]
ODD += [torch.zeros(0), torch.zeros(7, 7), torch.zeros((), dtype=torch.int64), torch.tensor(math.nan)]
ODD += [torch.tensor(True), torch.zeros(1, dtype=torch.complex64), torch.zeros(()).to_sparse(), nested()]
ODD += [torch.tensor(-1.0), torch.tensor(1e30)]
EMPTY_IS_FINE = {("optimizer",), ("line",)}  # before the first step, and before the first line
NEGATIVE_IS_FINE = {("loss_sum",)}


@given(st.sampled_from(list(RUNS)), st.data())
@settings(max_examples=400, deadline=None)
def test_a_value_of_another_kind_anywhere_is_refused_by_name(run, data):
    place = data.draw(st.sampled_from(places(RUNS[run][1])))
    odd = data.draw(st.sampled_from(range(len(ODD))))
    value = ODD[odd]
    if value == {} and isinstance(value, dict) and place in EMPTY_IS_FINE:
        return
    if isinstance(value, int | float) and (place in NEGATIVE_IS_FINE or place[0] == "line") and value in (-1, -1.0):
        return

    def change(state):
        for name in place[:-1]:
            state = state[name]
        state[place[-1]] = value

    message = refused(run, change)
    assert all(str(name) in message for name in (place[:2] if place[0] == "optimizer" else place[-1:]) if name)


@given(st.sampled_from(list(RUNS)), st.data())
@settings(max_examples=200, deadline=None)
def test_a_tensor_of_another_shape_or_type_is_refused(run, data):
    """The first of these ended the process: a fused kernel takes its word for the length."""
    tensors = [place for place in places(RUNS[run][1]) if place[0] in ("model", "optimizer")]
    place = data.draw(st.sampled_from(tensors))
    shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8]))

    def change(state):
        for name in place[:-1]:
            state = state[name]
        was = state[place[-1]]
        value = torch.ones(shape, dtype=dtype)
        if isinstance(was, torch.Tensor) and (was.shape, was.dtype) == (value.shape, value.dtype):
            value = value.to(torch.complex64)
        state[place[-1]] = value

    refused(run, change)


@runs
@pytest.mark.parametrize("name", ["steps", "tokens", "seconds", "loss_sum", "loss_steps", "line", "model", "random"])
def test_what_is_missing_is_named(run, name):
    assert name in refused(run, lambda state: state.pop(name))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s["model"].pop("head.bias"), "head.bias"),
        (lambda s: s["model"].update({"\x1b[31m" * 99: torch.ones(2)}), "unknown tensor"),
        (lambda s: s["optimizer"].update({99: {}}), "unknown parameter"),
        (lambda s: s["optimizer"].update({True: {}}), "parameter"),
        (lambda s: s["optimizer"][0].pop("exp_avg"), "parameter 0"),
        (lambda s: s["optimizer"][0].update(max_exp_avg_sq=torch.ones(4, 3)), "parameter 0"),
        (lambda s: s["optimizer"][0]["exp_avg_sq"].neg_(), "negative"),
        (lambda s: s["optimizer"][0].update(exp_avg=s["optimizer"][0]["exp_avg_sq"]), "shares"),
        (lambda s: s["optimizer"][0].update(exp_avg=torch.ones(3, 4).T), "order"),
        (lambda s: s["optimizer"][0]["step"].fill_(5), "step of parameter 0"),
        (lambda s: s["line"].update({f"n{i}": 0.0 for i in range(10**5)}), "line"),
        (lambda s: s.update(loss_sum=1e39), "loss_sum"),
        (lambda s: s.update(steps=4, line={}), "line"),
        (lambda s: s.update(random=torch.zeros_like(s["random"])), ""),
        (lambda s: s.update(random=s["random"][:-1]), "random"),
    ],
)
def test_what_fits_in_kind_but_cannot_be_is_refused(change, message):
    assert message in refused(("adamw", True), change)
