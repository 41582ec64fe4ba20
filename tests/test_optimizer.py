"""What Muon promises: updates whose singular values are alike, and AdamW for everything else."""

import torch

from optimizer import Muon, muon_groups, orthogonalized, parameter_groups
from trainer import Trainer, TrainerConfig


def test_orthogonalized_keeps_directions_and_evens_out_their_lengths():
    u, _, vh = torch.linalg.svd(torch.randn(3, 20, 50), full_matrices=False)
    lengths = torch.logspace(0, -2, 20)
    for matrices in ((u * lengths) @ vh, ((u * lengths) @ vh).mT):
        found = orthogonalized(matrices)
        assert found.shape == matrices.shape
        values = torch.linalg.svdvals(found)
        assert values.max() < 1.3 and values.min() > 0.5, "from 100 times apart to about alike"
    projected = u.mT @ orthogonalized((u * lengths) @ vh) @ vh.mT  # diagonal if directions are kept
    off_diagonal = projected - torch.diag_embed(projected.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 0.1


def test_a_step_moves_a_matrix_by_the_rate_in_every_direction():
    matrix, vector = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((16, 16), (16,)))
    groups = [dict(params=[matrix], weight_decay=0.0, muon=True), dict(params=[vector], weight_decay=0.0)]
    optimizer = Muon(groups, lr=0.1, betas=(0.9, 0.95))
    matrix.grad, vector.grad = torch.randn(16, 16), torch.randn(16)
    optimizer.step()
    values = torch.linalg.svdvals(matrix.detach())
    assert ((values / (0.1 * 0.2 * 16**0.5) - 1).abs() < 0.5).all()
    torch.testing.assert_close(vector.detach(), -0.1 * vector.grad.sign())  # AdamW's first step


def test_what_decays_shrinks_by_rate_times_decay():
    matrix = torch.nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([dict(params=[matrix], weight_decay=0.5, muon=True)], lr=0.1)
    matrix.grad = torch.zeros(4, 4)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), torch.full((4, 4), 0.95))


def test_matrices_of_the_same_shape_do_not_mix():
    """Updated together, each as if it were alone."""
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 8, 8), torch.randn(2, 3, 8, 8)

    def train(which: list[int]) -> list[torch.Tensor]:
        matrices = [torch.nn.Parameter(start[i].clone()) for i in which]
        optimizer = Muon([dict(params=matrices, weight_decay=0.1, muon=True)], lr=0.1)
        for step in gradients:
            for i, matrix in zip(which, matrices, strict=True):
                matrix.grad = step[i]
            optimizer.step()
        return [matrix.detach() for matrix in matrices]

    alone = [train([i])[0] for i in range(3)]
    torch.testing.assert_close(train([0, 1, 2]), alone, rtol=1e-2, atol=1e-2)


def test_hidden_matrices_go_to_muon_and_nothing_else(make_model):
    model = make_model()
    groups = muon_groups(model, parameter_groups(model, 0.1))
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    muon = {names[id(p)] for group in groups if group.get("muon") for p in group["params"]}
    linear = ("attn.query", "attn.key", "attn.value", "attn.proj", "mlp.0", "mlp.2")
    assert muon == {f"blocks.{i}.{name}.weight" for i in range(2) for name in linear}


def test_muon_is_for_matrices_whatever_decays_besides(corpus, make_model):
    """And what is frozen stays as it is."""
    model = make_model()
    model.blocks[0].mlp[0].weight.requires_grad_(False)
    frozen = model.blocks[0].mlp[0].weight.detach().clone()
    config = TrainerConfig(max_epochs=1, optimizer="muon", decay_gains_and_embeddings=True)
    trainer = Trainer(model, corpus, None, config)
    (muon,) = (group["params"] for group in trainer.optimizer.param_groups if group["muon"])
    assert {p.dim() for p in muon} == {2} and not any(p is model.tok_emb.weight for p in muon)
    trainer.train()
    assert torch.equal(model.blocks[0].mlp[0].weight, frozen)


def test_the_trainer_learns_with_it(corpus, make_model):
    losses = {}
    for optimizer in ("adamw", "muon"):
        torch.manual_seed(0)
        config = TrainerConfig(max_epochs=40, batch_size=9, learning_rate=6e-3, optimizer=optimizer)
        losses[optimizer] = Trainer(make_model(), corpus, None, config).train()["loss"]
    assert losses["muon"] < losses["adamw"] < 3


def test_a_step_that_went_bad_changes_nothing():
    """As a gradient scaler tells it: by the attribute found_inf, which nobody reads on the host."""
    matrix, vector = (torch.nn.Parameter(torch.ones(shape)) for shape in ((4, 4), (4,)))
    groups = [dict(params=[matrix], weight_decay=0.5, muon=True), dict(params=[vector], weight_decay=0.5)]
    optimizer = Muon(groups, lr=0.1, fused=True)
    for p in (matrix, vector):
        p.grad = torch.randn_like(p)
    optimizer.step()
    before = [matrix.detach().clone(), vector.detach().clone(), optimizer.state[matrix]["momentum_buffer"].clone()]
    for p in (matrix, vector):
        p.grad = torch.full_like(p, torch.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert torch.equal(matrix, before[0]) and torch.equal(vector, before[1])
    assert torch.equal(optimizer.state[matrix]["momentum_buffer"], before[2])


def test_a_saved_state_continues():
    start, gradients = torch.randn(2, 4, 4), torch.randn(3, 2, 4, 4)

    def train(optimizer, matrices, steps):
        for step in steps:
            for matrix, gradient in zip(matrices, step, strict=True):
                matrix.grad = gradient
            optimizer.step()

    def make():
        matrices = [torch.nn.Parameter(matrix.clone()) for matrix in start]
        vector = torch.nn.Parameter(torch.zeros(4))
        return matrices, Muon([dict(params=matrices, muon=True), dict(params=[vector])], lr=0.1)

    whole, optimizer = make()
    train(optimizer, whole, gradients)
    first, optimizer = make()
    train(optimizer, first, gradients[:2])
    second, continued = make()
    for matrix, value in zip(second, first, strict=True):
        matrix.data.copy_(value)
    continued.load_state_dict(optimizer.state_dict())
    train(continued, second, gradients[2:])
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_muon_is_its_formula():
    start, gradients = torch.randn(4, 16), torch.randn(3, 4, 16)  # not square
    matrix = torch.nn.Parameter(start.clone())
    optimizer = Muon([dict(params=[matrix], weight_decay=0.5, muon=True)], lr=0.1)
    expected, average = start.clone(), torch.zeros(4, 16)
    for gradient in gradients:
        matrix.grad = gradient.clone()
        optimizer.step()
        average = 0.95 * average + 0.05 * gradient
        update = orthogonalized((0.95 * average + 0.05 * gradient)[None])[0]
        expected = (1 - 0.1 * 0.5) * expected - 0.1 * 0.2 * 16**0.5 * update
    torch.testing.assert_close(matrix.detach(), expected, rtol=1e-3, atol=2e-3)
