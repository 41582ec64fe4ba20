"""Properties of the GPT and of its attention: names, sizes, causality, the loss, and generation."""

import copy
import math
from dataclasses import replace
from functools import partial
from itertools import accumulate, pairwise

import pytest
import torch
from conftest import by_rows
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import attention
import packing
import startup
from attention import VARIANTS, KVCache, can_attend_packed, register, written_out_attention
from dataset import MASK, PAD, encode_questions
from model import GPT, GPTConfig, check_sizes
from packing import Packing
from trainer import Trainer, TrainerConfig

V, T = 23, 12  # vocabulary and block of the models that need no corpus
NO_DROPOUT = dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
SMALL = dict(vocab_size=V, block_size=T, n_layer=2, n_head=2, n_embd=16, **NO_DROPOUT)
# Options whose defaults do not suit so small a block.
SMALL_OPTIONS = {"bottleneck_dim": 4, "chunk_size": 4, "summaries": 2, "sparse_block": 2, "n_features": 16}


def every_setting() -> list:
    """(variant, options) for each variant, and for each other choice that one of its options has."""
    settings = []
    for variant, cls in VARIANTS.items():
        options = {name: SMALL_OPTIONS[name] for name in cls.options if name in SMALL_OPTIONS}
        settings.append(pytest.param((variant, options), id=variant))
        for name, option in cls.options.items():
            for choice in sorted(set(option.choices or ()) - {option.default}):
                settings.append(pytest.param((variant, {**options, name: choice}), id=f"{variant}-{choice}"))
    return settings


@pytest.fixture(params=every_setting())
def model(request) -> GPT:
    """A model of every variant, its weights large enough that attention matters."""
    variant, options = request.param
    small = {**SMALL, "n_layer": 3} if VARIANTS[variant].bottleneck else SMALL
    model = GPT(GPTConfig(**small, variant=variant, options=options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(2, V, shape)


# ------------------------------------------------------------------------------------------- names, sizes, start


def test_the_courses_parameter_count():
    model = GPT(GPTConfig(vocab_size=256, block_size=128))
    assert sum(p.numel() for p in model.parameters()) == 3_323_392


def test_the_courses_names():
    names = {"tok_emb.weight", "pos_emb", "ln_f.weight", "ln_f.bias", "head.weight"}
    for i in range(2):
        parts = ["ln1", "ln2", "attn.key", "attn.query", "attn.value", "attn.proj", "mlp.0", "mlp.2"]
        names |= {f"blocks.{i}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert set(GPT(GPTConfig(**SMALL)).state_dict()) == names


def test_the_courses_initialisation():
    model = GPT(GPTConfig(vocab_size=256, block_size=128))
    for name, parameter in model.named_parameters():
        if name == "pos_emb" or name.endswith("bias"):
            assert not parameter.any(), name
        elif ".ln" in name or name.startswith("ln_f"):
            assert (parameter == 1).all(), name
        else:
            n = parameter.numel()
            assert abs(parameter.mean()) < 5 * 0.02 / math.sqrt(n), name
            assert abs(parameter.std() - 0.02) < 5 * 0.02 / math.sqrt(2 * n), name


def test_the_first_loss_is_that_of_guessing(model):
    fresh = GPT(model.config)
    _, loss = fresh(tokens(8, T), tokens(8, T))
    assert abs(loss - math.log(V)) < 0.1


def test_a_config_that_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="no variant 'vanila'"):
        GPTConfig(**{**SMALL, "variant": "vanila"})
    with pytest.raises(ValueError, match="n_embd 16 is not a multiple of n_head 3"):
        GPTConfig(**{**SMALL, "n_head": 3})
    with pytest.raises(ValueError, match="n_layer is 0"):
        GPTConfig(**{**SMALL, "n_layer": 0})


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'vanilla' is registered twice"):
        register("vanilla")(torch.nn.Identity)


# ------------------------------------------------------------------------------------ the contract of all variants


@pytest.mark.parametrize("length", [1, 7, T])
def test_shapes(model, length):
    logits, loss = model(tokens(3, length))
    assert logits.shape == (3, length, V) and loss is None
    assert model(tokens(3, length), tokens(3, length))[1].shape == ()


def test_the_future_never_changes_the_past(model):
    idx = tokens(2, T)
    before = model(idx)[0]
    for t in range(1, T):
        changed = idx.clone()
        changed[:, t:] = (changed[:, t:] + 1) % V
        after = model(changed)[0]
        torch.testing.assert_close(after[:, :t], before[:, :t])
        assert not torch.allclose(after[:, t:], before[:, t:])


def test_the_past_matters(model):
    idx = tokens(2, T)
    changed = idx.clone()
    changed[:, 0] = (changed[:, 0] + 1) % V
    assert not torch.allclose(model(idx)[0][:, -1], model(changed)[0][:, -1], atol=1e-4)


def test_every_parameter_gets_a_gradient(model):
    model(tokens(4, T), tokens(4, T))[1].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_evaluation_is_deterministic_and_training_is_not(model):
    noisy = GPT(replace(model.config, resid_pdrop=0.5))
    noisy.load_parameters(model.state_dict())
    idx = tokens(2, T)
    assert torch.equal(noisy.eval()(idx)[0], noisy(idx)[0])
    noisy.train()
    assert not torch.equal(noisy(idx)[0], noisy(idx)[0])


def test_saved_and_loaded_parameters_give_equal_logits(model):
    other = GPT(model.config).eval()
    other.load_parameters(model.state_dict())
    idx = tokens(2, T)
    assert torch.equal(model(idx)[0], other(idx)[0])


def test_a_variant_is_in_use(model):
    """Mistake 2: the flag is parsed, and the model is vanilla all the same."""
    if model.config.variant == "vanilla":
        pytest.skip("nothing to differ from")
    vanilla = GPT(replace(model.config, variant="vanilla", options={})).eval()
    shared = {name: value for name, value in model.state_dict().items() if name in vanilla.state_dict()}
    vanilla.load_state_dict(shared, strict=False)
    idx = tokens(2, T)
    assert not torch.allclose(vanilla(idx)[0], model(idx)[0], atol=1e-3)


def test_reading_through_a_cache_gives_the_same_logits(model):
    """A prompt of three and then one token at a time, at positions of their own, against one pass over everything."""
    if not model.variant.cacheable:
        pytest.skip("reads everything again for each token")
    idx = tokens(4, T)
    caches = [KVCache(T) for _ in model.blocks]
    parts = [idx[:, :3], *idx[:, 3:].split(1, dim=1)]
    logits, seen = [], 0
    for part in parts:
        positions = torch.arange(seen, seen + part.size(1)).expand(4, -1)
        logits.append(model(part, positions=positions, caches=caches)[0])
        seen += part.size(1)
    torch.testing.assert_close(torch.cat(logits, dim=1), model(idx)[0], rtol=1e-4, atol=1e-4)


def test_cached_generation_equals_uncached(model):
    idx, lengths = tokens(6, 7), torch.tensor([1, 2, 3, 5, 7, 7])
    for stop in (None, MASK, int(model.generate(idx, lengths, 3)[0, 1])):
        cached, uncached = (model.generate(idx, lengths, 5, stop, use_cache=use) for use in (True, False))
        assert torch.equal(cached, uncached)


def test_what_prompts_share_is_read_once(model):
    B, shared, rest, new = 4, 6, 3, 4
    idx = tokens(B, shared + rest)
    idx[:, :shared] = idx[0, :shared]
    n_read: list[int] = []
    for shortest in (shared + rest, shared, 1):  # not beyond what the shortest prompt leaves to read
        lengths = torch.tensor([shared + rest] * (B - 1) + [shortest])
        n_read.clear()
        with model.tok_emb.register_forward_pre_hook(lambda _, args: n_read.append(args[0].numel())):
            cached = model.generate(idx, lengths, new)
        assert torch.equal(cached, model.generate(idx, lengths, new, use_cache=False))
        if model.variant.cacheable:
            once = min(shared, shortest - 1)
            assert sum(n_read) == once + B * (shared + rest - once) + B * (new - 1)


# --------------------------------------------------------------------------------------------------------- the loss


def test_padding_carries_no_loss(model):
    idx, targets = tokens(2, T), tokens(2, T)
    targets[:, 5:] = PAD
    logits, loss = model(idx, targets)
    by_hand = F.cross_entropy(logits[:, :5].reshape(-1, V), targets[:, :5].reshape(-1))
    torch.testing.assert_close(loss, by_hand)


@pytest.mark.parametrize("kernel", [False, True], ids=["laid out", "packed"])
@pytest.mark.parametrize("spare", [0, 5, 40], ids=["exact", "with room to spare", "with room for rows"])
def test_leaving_padding_out_changes_neither_loss_nor_gradients(model, spare, kernel, monkeypatch):
    calls = []
    if kernel:
        monkeypatch.setattr(packing, "_kernels", lambda device: (torch.float32,))
        monkeypatch.setattr(attention, "packed_attention", lambda *args: calls.append(1) or by_rows(*args))
    idx, targets = tokens(6, T), tokens(6, T)
    for row, length in enumerate([T, 1, 7, 4, 0, 9]):
        idx[row, length:] = targets[row, length:] = PAD
    targets[2, :5] = PAD  # a question: nothing to answer before the sixth place
    computed = int(model.positions_needed(targets).sum()) + spare
    assert computed == T + 1 + 7 + 4 + 0 + 9 + spare

    results = []
    for n in (None, computed):
        model.zero_grad()
        logits, loss = model(idx, targets, computed=n)
        loss.backward()
        results.append((loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
    is_dot_product = model.config.variant in ("vanilla", "sinusoidal", "rope")
    assert len(calls) == kernel * is_dot_product * model.config.n_layer, "others have a way of their own"
    assert logits.shape == (computed, V), "that many positions are computed and no more"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 30))
def test_rows_of_a_packing_cover_its_slots(lengths, spare):
    """First the rows of the batch, then what nothing fills in rows no longer than a batch may have."""
    N = sum(lengths) + spare
    bounds = Packing.of(torch.tensor(lengths), 9, N).bounds.tolist()
    assert bounds[: len(lengths) + 1] == [0, *accumulate(lengths)] and bounds[-1] == N
    assert all(0 <= b - a <= 9 for a, b in pairwise(bounds))


def test_rows_longer_than_the_block_can_be_packed(monkeypatch):
    """Where the variant accepts them at all; the angles of rope are made as far as needed."""
    monkeypatch.setattr(packing, "_kernels", lambda device: (torch.float32,))
    monkeypatch.setattr(attention, "packed_attention", by_rows)
    for variant in ("rope", "sinusoidal"):
        model = GPT(GPTConfig(**SMALL, variant=variant))
        idx, targets = tokens(2, T + 8), tokens(2, T + 8)
        targets[1, 3:] = PAD
        torch.testing.assert_close(model(idx, targets, computed=T + 11)[1], model(idx, targets)[1])


def test_which_rows_have_a_kernel():
    packing = Packing.of(torch.tensor([3, 2]), 4, 5)
    assert packing.kernels == (), "none on a CPU"
    packing = packing._replace(kernels=(torch.bfloat16,))
    sizes = [size for size in (4, 8, 12, 32, 192, 200, 264) if can_attend_packed(packing, torch.bfloat16, size)]
    assert sizes == [8, 32, 192] and not can_attend_packed(packing, torch.float32, 32)


@pytest.mark.parametrize("deterministic", [False, True])
def test_compiled_parts_compute_the_same_and_belong_to_their_model(model, monkeypatch, deterministic):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()  # it gives up on what has been compiled for many models, as no run does
    idx = tokens(2, T)
    logits, loss = model(idx, idx)
    compiled = copy.deepcopy(model)
    with startup.placed("cpu", deterministic=deterministic):
        compiled.compile_parts(dynamic=None)
        torch.testing.assert_close(compiled(idx, idx), (logits, loss))
    embeds = ["embedding" in str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert any(embeds) != deterministic, "its compiled gradient is slow in a fixed order"
    assert len(graphs) >= 3 - deterministic, "what is before the blocks, a block, what is after them"
    another = copy.deepcopy(compiled)
    with torch.no_grad():
        for parameter in another.parameters():
            parameter.zero_()
    assert not another(idx)[0].any() and compiled(idx)[0].any()
    assert compiled.state_dict().keys() == model.state_dict().keys()


def test_checkpointed_activations_change_neither_loss_nor_gradients():
    model = GPT(GPTConfig(vocab_size=V, block_size=T, n_layer=2, n_head=2, n_embd=16))  # with dropout
    idx, calls, found = tokens(3, T), [], []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for again in (False, True):
        torch.manual_seed(0)
        model.checkpoint_activations = again
        loss = model(idx, idx)[1]
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*found)
    assert len(calls) == 2 + 2 * 2, "each block runs again for its gradients"


def test_another_id_can_be_ignored():
    model = GPT(GPTConfig(**SMALL, ignore_index=-100))
    targets = tokens(2, T)
    with_pad = targets.clone()
    with_pad[:, 0] = PAD
    idx = tokens(2, T)
    assert model(idx, targets)[1] != model(idx, with_pad)[1], "PAD counts like any other target"
    ignored = with_pad.where(with_pad != PAD, torch.tensor(-100))
    assert torch.isfinite(model(idx, ignored)[1])
    ignored[0, 5:], with_pad[0, 5:] = -100, -100
    for some in (ignored, with_pad):
        needed = model.positions_needed(some)
        assert needed.tolist() == [5, T], "up to the last that counts, be it PAD"
        torch.testing.assert_close(model(idx, some, computed=int(needed.sum()))[1], model(idx, some)[1])


def test_longer_sequences_than_trained_on_are_accepted_or_refused(model):
    """Rotary and sinusoidal positions exist at any length, learned ones do not."""
    assert model.variant.any_length == (model.config.variant in ("rope", "sinusoidal"))
    if model.variant.any_length:
        idx = tokens(2, 3 * T)
        logits = model(idx)[0]
        assert torch.isfinite(logits).all()
        caches, positions = [KVCache(3 * T) for _ in model.blocks], torch.arange(3 * T).expand(2, -1)
        torch.testing.assert_close(model(idx, positions=positions, caches=caches)[0], logits)
    else:
        with pytest.raises(ValueError, match=f"{T + 1} tokens does not fit block_size {T}"):
            model(tokens(1, T + 1))


def test_sizes_that_are_not_those_of_the_parameters_are_noticed_before_there_is_a_model(model):
    config, parameters = model.config, model.state_dict()
    check_sizes(config, parameters)
    others = [dict(n_layer=config.n_layer + 1), dict(vocab_size=V + 1), dict(n_embd=2 * config.n_embd)]
    others += [dict(block_size=T + 1)] * (model.variant.position == "learned")
    for name, option in model.variant.options.items():
        if option.axis is not None:
            others.append(dict(options=config.options | {name: config.options[name] - 1}))
    for other in others:
        with pytest.raises(ValueError, match="other sizes"):
            check_sizes(replace(config, **other), parameters)
    hollow = {name: value for name, value in parameters.items() if ".mlp." not in name}  # blocks in name only
    with pytest.raises(ValueError, match="other sizes"):
        check_sizes(config, hollow)


@pytest.mark.parametrize("value", ["x", None, 10**30])
def test_an_ignored_id_is_a_number(value):
    with pytest.raises(ValueError, match="ignore_index is"):
        GPTConfig(**SMALL, ignore_index=value)


def test_no_prompts_have_no_answers():
    assert GPT(GPTConfig(**SMALL)).generate(tokens(0, 3), torch.zeros(0, dtype=torch.long), 4).shape == (0, 4)


def test_vanilla_attention_equals_the_written_out_path():
    q, k, v = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64)
    expected, weights = written_out_attention(q, k, v)
    torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, is_causal=True), expected)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9, dtype=torch.float64))
    assert not weights.triu(1).any()


def test_the_vanilla_module_equals_loops_over_tokens_and_heads():
    model = GPT(GPTConfig(**SMALL)).eval()
    attn, x = model.blocks[0].attn, torch.randn(1, 5, 16)
    with torch.no_grad():
        for parameter in attn.parameters():
            parameter.normal_()
        heads = []
        for h in range(2):
            channels = slice(8 * h, 8 * h + 8)
            q, k, v = (linear(x[0])[:, channels] for linear in (attn.query, attn.key, attn.value))
            rows = [((q[t] @ k[: t + 1].T) / math.sqrt(8)).softmax(0) @ v[: t + 1] for t in range(5)]
            heads.append(torch.stack(rows))
        torch.testing.assert_close(attn(x)[0], attn.proj(torch.cat(heads, dim=1)), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------- parameters from files


@pytest.mark.parametrize("name, shape", [("mask", (1, 1, T, T)), ("rope_cache", (T, 4, 2))])
def test_parameters_with_what_the_course_keeps_among_them_load(model, name, shape):
    course = {**model.state_dict(), f"blocks.0.attn.{name}": torch.ones(shape)}
    GPT(model.config).load_parameters(course)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("ln_f.bias"), "lacks the tensor ln_f.bias"),
        (lambda d: d.update(extra=torch.ones(1)), "has an unknown tensor extra"),
        (lambda d: d.update({"head.weight": torch.ones(V, 8)}), r"head.weight has shape \(23, 8\) where .* \(23, 16\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change, message):
    model = GPT(GPTConfig(**SMALL))
    state_dict = dict(model.state_dict())
    change(state_dict)
    with pytest.raises(ValueError, match=message):
        model.load_parameters(state_dict)


# ------------------------------------------------------------------------------------------------------ generation


def greedy_one_at_a_time(model: GPT, prompt: torch.Tensor, n: int, stop: int | None) -> list[int]:
    """The course's way: one prompt, a full forward pass for every character."""
    idx = prompt[None]
    for _ in range(n):
        token = model(idx[:, -model.config.block_size :])[0][0, -1].argmax()
        idx = torch.cat([idx, token.view(1, 1)], dim=1)
        if token == stop:
            break
    return idx[0, len(prompt) :].tolist()


@pytest.mark.parametrize("n", [1, 15])  # 15 outgrows the block: the window slides
def test_batched_decoding_equals_one_at_a_time(model, n):
    lengths = torch.tensor([1, 4, 7, 12, 15, 3])
    idx = tokens(6, 15)
    stop = int(model.generate(idx, lengths, n)[1, n // 2])  # a token that really occurs
    for stop_token in (None, stop):
        batched = model.generate(idx, lengths, n, stop_token)
        for i, length in enumerate(lengths):
            alone = greedy_one_at_a_time(model, idx[i, :length], n, stop_token)
            assert batched[i, : len(alone)].tolist() == alone
            assert stop_token is None or (batched[i, len(alone) :] == stop_token).all()


def test_decoding_ends_when_every_row_has(model):
    idx = tokens(1, 4)
    first = model.generate(idx, max_new_tokens=4)
    assert model.generate(idx, max_new_tokens=4, stop_token=int(first[0, 0])).shape == (1, 1)
    assert model.generate(idx, max_new_tokens=0).shape == (1, 0)


def test_what_fills_up_a_prompt_does_not_matter(model):
    idx, lengths = tokens(3, 9), torch.tensor([2, 5, 9])
    other = idx.clone()
    other[0, 2:], other[1, 5:] = 0, 1
    assert torch.equal(model.generate(idx, lengths, 3), model.generate(other, lengths, 3))


def test_sampling_follows_the_softmax():
    model = GPT(GPTConfig(**SMALL)).eval()
    with torch.no_grad():
        model.head.weight.normal_(std=1.0)
    idx, n, temperature = tokens(1, 4), 20_000, 1.5
    p = (model(idx)[0][0, -1] / temperature).softmax(-1)
    drawn = model.generate(idx.expand(n, -1), max_new_tokens=1, temperature=temperature)[:, 0]
    counts = torch.bincount(drawn, minlength=V)
    assert ((counts - n * p).abs() < 5 * (n * p * (1 - p)).sqrt() + 1).all()
    few = model.generate(idx.expand(500, -1), max_new_tokens=1, temperature=temperature, top_k=3)
    assert set(few.flatten().tolist()) == set(p.topk(3).indices.tolist())


def test_the_same_generator_draws_the_same(model):
    def draw(seed):
        return model.generate(idx, temperature=1.0, generator=torch.Generator().manual_seed(seed))

    idx = tokens(8, 4)
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_generating_leaves_the_mode_alone(model):
    for mode in (True, False):
        model.train(mode)
        model.generate(tokens(1, 3), max_new_tokens=2)
        assert model.training is mode


@pytest.mark.parametrize("prompt, top_k, message", [(0, None, "a prompt of no tokens"), (4, 0, "top_k is 0")])
def test_what_cannot_be_continued_is_refused(model, prompt, top_k, message):
    model.train()
    with pytest.raises(ValueError, match=message):
        model.generate(torch.ones(2, prompt, dtype=torch.long), temperature=1.0, top_k=top_k)
    assert model.training, "as it was"


def test_nothing_is_dropped_out_of_a_continuation():
    model, idx = GPT(GPTConfig(**SMALL | dict(resid_pdrop=0.5))).train(), tokens(8, 4)
    assert torch.equal(model.generate(idx), model.generate(idx))


def test_a_batch_can_be_learned_by_heart(corpus, questions, make_model):
    """The whole machine: two dozen steps per row and the model answers every question it was trained on."""
    model = make_model()
    config = TrainerConfig(max_epochs=150, batch_size=8, learning_rate=3e-3)
    assert Trainer(model, questions, None, config).train()["loss"] < 0.05
    asked = [row.split("?")[0] + "?" for row in questions.data]
    ids, lengths = encode_questions(asked, corpus.stoi, corpus.block_size, "here")
    for row, produced in zip(questions.data, model.generate(ids, lengths, 12, MASK), strict=True):
        answer = "".join(corpus.itos[int(i)] for i in produced)
        assert answer.startswith(row.split("?")[1][1:])
