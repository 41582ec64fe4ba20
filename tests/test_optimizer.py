"""Muon: torch's implementation as the oracle, and AdamW for everything that is not a hidden matrix."""

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from optimizer import Muon, make_optimizer, muon_groups, orthogonalized, parameter_groups
from trainer import Trainer, TrainerConfig

WIDE, TALL, SQUARE = (4, 16), (16, 4), (8, 8)


def muon(matrices: list[Parameter], lr: float = 0.1, weight_decay: float = 0.0) -> Muon:
    return Muon([dict(params=matrices, weight_decay=weight_decay, muon=True)], lr=lr)


def take_steps(optimizer: torch.optim.Optimizer, matrices: list[Parameter], steps: list[list[Tensor | None]]) -> None:
    """One step for each list of gradients, one gradient (or None) per matrix."""
    for gradients in steps:
        for matrix, gradient in zip(matrices, gradients, strict=True):
            matrix.grad = None if gradient is None else gradient.clone()
        optimizer.step()


# ------------------------------------------------------------------------------------------------- orthogonalization


def test_orthogonalized_keeps_singular_directions_and_levels_singular_values():
    u, _, vh = torch.linalg.svd(torch.randn(3, 20, 50), full_matrices=False)
    lengths = torch.logspace(0, -2, 20)
    for matrices in ((u * lengths) @ vh, ((u * lengths) @ vh).mT):
        found = orthogonalized(matrices)
        assert found.shape == matrices.shape
        values = torch.linalg.svdvals(found)
        assert values.max() < 1.3 and values.min() > 0.5, "a ratio of 100 becomes a ratio of about 1"
    projected = u.mT @ orthogonalized((u * lengths) @ vh) @ vh.mT  # diagonal if directions are kept
    off_diagonal = projected - torch.diag_embed(projected.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 0.1


@pytest.mark.parametrize("shape", [WIDE, TALL, SQUARE])
@pytest.mark.parametrize("power", [-10, 10])
def test_orthogonalized_does_not_depend_on_the_scale_of_its_input(shape, power):
    """Gradients of a mean over many targets are small. What keeps the norm from being zero must be far smaller."""
    matrices = torch.randn(2, *shape)
    # 2**-10 is about 1e-3.
    torch.testing.assert_close(orthogonalized(2.0**power * matrices), orthogonalized(matrices), rtol=1e-3, atol=1e-3)


def test_orthogonalized_of_zeros_is_zero():
    assert torch.equal(orthogonalized(torch.zeros(1, *WIDE)), torch.zeros(1, *WIDE))


# -------------------------------------------------------------------------------------------------------------- Muon


def test_muon_equals_the_muon_of_torch():
    """Wide, tall and square matrices, several of one shape, over several steps with weight decay."""
    shapes = [WIDE, TALL, SQUARE, WIDE, SQUARE, SQUARE, (1, 5)]
    start = [torch.randn(shape) for shape in shapes]
    steps = [[torch.randn(shape) for shape in shapes] for _ in range(6)]
    ours, oracles = ([Parameter(value.clone()) for value in start] for _ in range(2))
    take_steps(muon(ours, lr=0.02, weight_decay=0.3), ours, steps)
    settings = dict(momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    take_steps(torch.optim.Muon(oracles, lr=0.02, weight_decay=0.3, **settings), oracles, steps)
    for matrix, oracle, before in zip(ours, oracles, start, strict=True):
        moved = (oracle - before).abs().max().item()
        # Both orthogonalize in bfloat16, and processors round batched and single products differently.
        torch.testing.assert_close(matrix, oracle, rtol=0, atol=0.02 * moved)


def test_a_step_moves_a_matrix_by_the_rate_in_every_direction():
    matrix, vector = (Parameter(torch.zeros(shape)) for shape in ((16, 16), (16,)))
    groups = [dict(params=[matrix], weight_decay=0.0, muon=True), dict(params=[vector], weight_decay=0.0)]
    optimizer = Muon(groups, lr=0.1, betas=(0.9, 0.95))
    matrix.grad, vector.grad = torch.randn(16, 16), torch.randn(16)
    optimizer.step()
    values = torch.linalg.svdvals(matrix.detach())
    assert ((values / (0.1 * 0.2 * 16**0.5) - 1).abs() < 0.5).all()
    torch.testing.assert_close(vector.detach(), -0.1 * vector.grad.sign())  # AdamW's first step


def test_weight_decay_shrinks_a_matrix_by_rate_times_decay():
    matrix = Parameter(torch.ones(4, 4))
    take_steps(muon([matrix], weight_decay=0.5), [matrix], [[torch.zeros(4, 4)]])
    torch.testing.assert_close(matrix.detach(), torch.full((4, 4), 0.95))


def test_each_matrix_of_a_shape_is_updated_as_if_it_were_alone():
    start, steps = torch.randn(3, 8, 8), torch.randn(2, 3, 8, 8)

    def train(which: list[int]) -> list[Tensor]:
        matrices = [Parameter(start[i].clone()) for i in which]
        take_steps(muon(matrices, weight_decay=0.1), matrices, [[step[i] for i in which] for step in steps])
        return [matrix.detach() for matrix in matrices]

    alone = [train([i])[0] for i in range(3)]
    torch.testing.assert_close(train([0, 1, 2]), alone, rtol=1e-2, atol=1e-2)


def test_a_matrix_without_a_gradient_is_skipped_and_the_others_of_its_shape_move():
    start, steps = torch.randn(3, 8, 8), [list(torch.randn(3, 8, 8)) for _ in range(3)]
    matrices = [Parameter(value.clone()) for value in start]
    optimizer = muon(matrices, weight_decay=0.5)
    take_steps(optimizer, matrices, steps[:1])
    before = [matrix.detach().clone() for matrix in matrices]
    momentum = optimizer.state[matrices[1]]["momentum_buffer"].clone()
    take_steps(optimizer, matrices, [[steps[1][0], None, steps[1][2]]])
    assert torch.equal(matrices[1], before[1]), "no decay and no momentum either, as with AdamW"
    assert torch.equal(optimizer.state[matrices[1]]["momentum_buffer"], momentum)
    assert not torch.equal(matrices[0], before[0]) and not torch.equal(matrices[2], before[2])
    take_steps(optimizer, matrices, steps[2:])

    for i, seen in enumerate(([0, 1, 2], [0, 2], [0, 1, 2])):  # each has its own momentum, whatever the others did
        alone = [Parameter(start[i].clone())]
        take_steps(muon(alone, weight_decay=0.5), alone, [[steps[j][i]] for j in seen])
        torch.testing.assert_close(matrices[i], alone[0], rtol=1e-2, atol=1e-2)


def test_a_matrix_that_has_had_no_gradient_has_no_state():
    matrices = [Parameter(torch.randn(8, 8)) for _ in range(2)]
    optimizer = muon(matrices)
    take_steps(optimizer, matrices, [[None, torch.randn(8, 8)]])
    assert set(optimizer.state) == {matrices[1]}


def test_there_is_a_state_for_each_matrix(make_model):
    model = make_model()
    optimizer = make_optimizer(model, TrainerConfig(optimizer="muon"))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for group in optimizer.param_groups:
        for p in group["params"]:
            moments = ["momentum_buffer"] if group["muon"] else ["exp_avg", "exp_avg_sq"]
            assert optimizer.state[p].keys() == {"step", *moments}
            assert all(optimizer.state[p][name].shape == p.shape for name in moments)


def test_a_saved_state_continues_with_the_same_bits():
    start, steps = torch.randn(2, 4, 4), [list(torch.randn(2, 4, 4)) for _ in range(3)]

    def make() -> tuple[list[Parameter], Muon]:
        matrices = [Parameter(matrix.clone()) for matrix in start]
        vector = Parameter(torch.zeros(4))
        return matrices, Muon([dict(params=matrices, muon=True), dict(params=[vector])], lr=0.1)

    whole, optimizer = make()
    take_steps(optimizer, whole, steps)
    first, optimizer = make()
    take_steps(optimizer, first, steps[:2])
    second, continued = make()
    for matrix, value in zip(second, first, strict=True):
        matrix.data.copy_(value)
    continued.load_state_dict(optimizer.state_dict())
    take_steps(continued, second, steps[2:])
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


# ----------------------------------------------------------------------------------------------- which matrices


def test_muon_is_for_hidden_matrices_and_for_nothing_else(make_model):
    model = make_model()
    groups = muon_groups(model, parameter_groups(model, 0.1))
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for group in groups if group.get("muon") for p in group["params"]}
    linear = ("attn.query", "attn.key", "attn.value", "attn.proj", "mlp.0", "mlp.2")
    assert muon == {f"blocks.{i}.{name}.weight" for i in range(2) for name in linear}


def test_muon_is_for_matrices_only_even_if_embeddings_decay_too(corpus, make_model):
    """And a frozen matrix does not move."""
    model = make_model()
    model.blocks[0].mlp[0].weight.requires_grad_(False)
    frozen = model.blocks[0].mlp[0].weight.detach().clone()
    config = TrainerConfig(max_epochs=1, optimizer="muon", decay_gains_and_embeddings=True)
    trainer = Trainer(model, corpus, None, config)
    (muon,) = (group["params"] for group in trainer.optimizer.param_groups if group["muon"])
    assert {p.dim() for p in muon} == {2} and not any(p is model.tok_emb.weight for p in muon)
    trainer.train()
    assert torch.equal(model.blocks[0].mlp[0].weight, frozen)


def test_a_table_of_three_axes_and_a_model_without_a_head_can_be_trained():
    """What a new mechanism may bring: AdamW takes what is no matrix."""
    model = torch.nn.Linear(4, 3)
    model.table = Parameter(torch.ones(2, 3, 4))
    optimizer = make_optimizer(model, TrainerConfig(optimizer="muon", learning_rate=0.1))
    (muon,) = (group["params"] for group in optimizer.param_groups if group["muon"])
    assert [p.shape for p in muon] == [model.weight.shape]
    (model(torch.ones(1, 4)).sum() + (model.table**2).sum()).backward()
    optimizer.step()
    assert (model.table < 1).all()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_make_optimizer_passes_on_rate_betas_and_settings(make_model, optimizer):
    config = TrainerConfig(learning_rate=0.25, betas=(0.5, 0.6), weight_decay=0.125, optimizer=optimizer)
    made = make_optimizer(make_model(), config, fused=True)
    assert type(made) is (Muon if optimizer == "muon" else torch.optim.AdamW)
    assert all((group["lr"], group["betas"], group["fused"]) == (0.25, (0.5, 0.6), True) for group in made.param_groups)
    assert {group["weight_decay"] for group in made.param_groups} == {0.125, 0.0}


def test_muon_reaches_a_lower_loss_than_adamw_in_the_same_steps(corpus, make_model):
    losses = {}
    for optimizer in ("adamw", "muon"):
        torch.manual_seed(0)
        config = TrainerConfig(max_epochs=40, batch_size=9, learning_rate=6e-3, optimizer=optimizer)
        losses[optimizer] = Trainer(make_model(), corpus, None, config, show_progress=False).train()["loss"]
    assert losses["muon"] < losses["adamw"] < 3
