"""Shows that packed rows, cached rows and the kernel of a GPU (src/fast/rows.py) compute what whole rows do."""

from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attention import WHOLE_ROWS, CausalSelfAttention
from conftest import SMALL, Doubled, OnGPU, T, V, by_rows, loud, needs_cuda, small_config, tokens
from dataset import PAD
from efficient_attention import LinformerAttention
from fast.device import precision
from fast.rows import (
    FUSED_ROWS,
    CachedReader,
    PackedRows,
    Rearrange,
    fused_attention,
    has_packed_kernel,
    packed_attention,
    row_lengths,
)
from model import GPT, GPTConfig

# ------------------------------------------------------------------------------------------------------ fused rows


def test_fused_rows_make_the_same_heads_with_one_product():
    attn = loud(CausalSelfAttention(GPTConfig(**SMALL)))
    x = torch.randn(3, 7, 16)
    for projections in ([attn.key], [attn.query, attn.key, attn.value]):
        fused = FUSED_ROWS.heads(x, 2, *projections)
        assert len(fused) == len(projections)
        torch.testing.assert_close(fused, WHOLE_ROWS.heads(x, 2, *projections))


def changed(attn: CausalSelfAttention, how: str) -> CausalSelfAttention:
    """What the class of a new variant may do to its projections."""
    C = attn.query.in_features
    if how == "no bias":
        attn.query.bias = None
    elif how == "narrow queries and keys":
        attn.query, attn.key = torch.nn.Linear(C, C // 2), torch.nn.Linear(C, C // 2)
    elif how == "a class of its own":
        attn.query = Doubled(C, C)
    else:
        attn.query = torch.nn.Sequential(torch.nn.Linear(C, 2, bias=False), torch.nn.Linear(2, C))
    return attn


@pytest.mark.parametrize("how", ["no bias", "narrow queries and keys", "a class of its own", "two products"])
def test_projections_of_a_mechanism_of_its_own_are_computed_as_it_says(how):
    """Heads, packed rows, and a KV cache."""
    model = GPT(small_config("vanilla", {}))
    for block in model.blocks:
        changed(block.attn, how)
    model = loud(model).eval()
    attn, x = model.blocks[0].attn, torch.randn(3, 7, model.config.n_embd)
    projections = [attn.query, attn.key, attn.value]
    torch.testing.assert_close(FUSED_ROWS.heads(x, 2, *projections), WHOLE_ROWS.heads(x, 2, *projections))
    idx, targets = tokens(6, T), tokens(6, T)
    targets[2, 3:] = model.config.ignore_index
    torch.testing.assert_close(packed(model, idx, targets)[1], model(idx, targets)[1])
    prompts, lengths = torch.cat([idx[:1, :3].expand(4, 3), idx[:4, 3:]], dim=1), torch.tensor([4, 5, 6, 7])
    kept = model.generate(prompts, lengths, 5, reader=CachedReader(model))
    assert torch.equal(kept, model.generate(prompts, lengths, 5))


# --------------------------------------------------------------------------------------------------------- packing


def packed(model: GPT, idx: torch.Tensor, targets: torch.Tensor, spare: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits (1, N, V), loss) of the packed batch, with `spare` slots that nothing fills."""
    ignored = model.config.ignore_index
    lengths = row_lengths(targets, ignored)
    rows = PackedRows(lengths, idx.size(1), int(lengths.sum()) + spare)
    packed_targets = rows.pack(targets).masked_fill(~rows.is_filled, ignored)
    return model(rows.pack(idx), packed_targets, rows)


def test_a_row_matters_up_to_its_last_target_that_is_not_ignored():
    targets = torch.tensor([[0, 5, 0, 7, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    assert row_lengths(targets, 0).tolist() == [4, 0, 5]
    assert row_lengths(targets, -100).tolist() == [5, 5, 5]
    assert row_lengths(targets, 1).tolist() == [5, 5, 0]


@pytest.mark.parametrize("kernel", [False, True], ids=["laid out", "kernel"])
@pytest.mark.parametrize("spare", [0, 5, 40], ids=["exact", "a few spare slots", "spare slots for rows"])
def test_leaving_padding_out_changes_neither_loss_nor_gradients(model, spare, kernel, request):
    calls = request.getfixturevalue("packed_kernel") if kernel else []
    idx, targets = tokens(6, T), tokens(6, T)
    for row, length in enumerate([T, 1, 7, 4, 0, 9]):
        idx[row, length:] = targets[row, length:] = PAD
    targets[2, :5] = PAD  # a question: no targets before the sixth position
    results = []
    for pack in (False, True):
        model.zero_grad()
        logits, loss = packed(model, idx, targets, spare) if pack else model(idx, targets)
        loss.backward()
        results.append((loss, {name: parameter.grad.clone() for name, parameter in model.named_parameters()}))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-6)
    slots = T + 1 + 7 + 4 + 0 + 9 + spare
    assert logits.shape == (1, slots, V), "so many positions are computed and no more"
    mechanism = model.mechanism
    has_kernel = mechanism.attend is CausalSelfAttention.attend and not mechanism.bottleneck
    if has_kernel:
        attn, x = model.blocks[0].attn, torch.zeros(1, model.config.n_embd)
        has_kernel = attn.query(x).shape == attn.value(x).shape
    assert calls == [slots] * (kernel * has_kernel * model.config.n_layer), "other mechanisms have no kernel"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 30))
def test_packed_rows_and_rows_of_empty_slots_cover_all_slots(lengths, spare):
    """`bounds` lists the rows of the batch, then rows of empty slots that are no longer than a row of the batch."""
    N = sum(lengths) + spare
    rows = PackedRows(torch.tensor(lengths), 9, N)
    bounds = rows.bounds.tolist()
    assert bounds[: len(lengths) + 1] == [0, *accumulate(lengths)] and bounds[-1] == N
    assert all(0 <= b - a <= 9 for a, b in pairwise(bounds))
    assert rows.is_filled.sum() == sum(lengths)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(0, 30))
def test_packing_is_undone_by_laying_out(lengths, spare):
    if sum(lengths) + spare == 0:
        return  # a step packs into one slot at least
    B, at = len(lengths), [place for length in lengths for place in range(length)]
    rows = PackedRows(torch.tensor(lengths), 9, sum(lengths) + spare)
    assert rows.at[: len(at)].tolist() == at and rows.shape == (B, 9)
    y = torch.randn(B, 2, 9, 3)  # heads (B, nh, T, hs)
    joined = rows.join(y)  # (1, N, nh * hs)
    again = rows.whole(joined.unflatten(-1, (2, 3)).transpose(1, 2))
    for i, length in enumerate(lengths):
        assert torch.equal(again[i, :, :length], y[i, :, :length])


def test_the_gradient_of_a_rearrangement_is_that_of_indexing():
    rows = PackedRows(torch.tensor([3, 0, 5]), 6, 10)
    x, gradient = torch.randn(18, 4, requires_grad=True), torch.randn(10, 4) * rows.is_filled[:, None]
    y = Rearrange.apply(x, rows.source, rows.slot.flatten(), rows.is_real.flatten())
    assert torch.equal(y, x[rows.source])
    (expected,) = torch.autograd.grad(x[rows.source], x, gradient)
    assert torch.equal(torch.autograd.grad(y, x, gradient)[0], expected)


def test_packing_respects_another_ignored_id():
    """With ignore_index -100 a target PAD counts like any other."""
    model = loud(GPT(GPTConfig(**SMALL, ignore_index=-100)))
    idx, targets = tokens(2, T), tokens(2, T)
    targets[:, 0], targets[1, 4] = -100, PAD
    targets[0, 5:] = targets[1, 7:] = -100
    for some in (targets, targets.where(targets != PAD, -100)):
        torch.testing.assert_close(packed(model, idx, some)[1], model(idx, some)[1])
    targets[0, 4] = PAD
    assert row_lengths(targets, -100).tolist() == [5, 7], "up to the last target that counts, here a PAD"


@pytest.mark.parametrize("variant", ["rope", "sinusoidal"])
@pytest.mark.parametrize("kernel", [False, True], ids=["laid out", "kernel"])
def test_rows_longer_than_the_block_can_be_packed(variant, kernel, request):
    if kernel:
        request.getfixturevalue("packed_kernel")
    model = loud(GPT(small_config(variant, {})))
    idx, targets = tokens(2, T + 8), tokens(2, T + 8)
    targets[1, 3:] = PAD
    torch.testing.assert_close(packed(model, idx, targets)[1], model(idx, targets)[1])


def test_packed_rows_longer_than_the_block_are_refused_as_whole_rows_are():
    model = GPT(GPTConfig(**SMALL))
    with pytest.raises(ValueError, match=f"{T + 1} tokens does not fit block_size {T}"):
        packed(model, tokens(2, T + 1), tokens(2, T + 1))


def test_which_rows_have_a_kernel(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    attn, own = CausalSelfAttention(GPTConfig(**SMALL)), LinformerAttention(small_config("linformer", {"summaries": 2}))

    def found(hs: int = 32, dtype: torch.dtype = torch.bfloat16, attention=attn) -> bool:
        return has_packed_kernel(attention, OnGPU(torch.empty(1, 2, 5, hs, dtype=dtype)))

    assert [hs for hs in (4, 8, 12, 32, 192, 200, 264) if found(hs)] == [8, 32, 192]
    assert not found(attention=own), "a mechanism of its own"
    assert not has_packed_kernel(attn, torch.empty(1, 2, 5, 32)), "none on a CPU"
    with monkeypatch.context() as patch:
        for setting, expected in (("highest", False), ("high", True)):  # float32, or TF32
            patch.setattr(torch, "get_float32_matmul_precision", lambda setting=setting: setting)
            assert found(dtype=torch.float32) == expected and found()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
        assert not found(), "a GPU before Ampere"
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
        assert not found(), "a build of torch without it"


# -------------------------------------------------------------------------------------------------------- KV cache


def test_reading_through_a_cache_gives_the_logits_of_whole_rows(model):
    """A prompt of three tokens, then one at a time, up to the end of the block and beyond it."""
    idx, n = tokens(4, T + 3), torch.full((4,), 3)
    reader = CachedReader(model)
    with torch.no_grad():
        for step in range(T):
            torch.testing.assert_close(
                reader(idx, n + step), model.next_logits(idx, n + step), rtol=1e-4, atol=1e-4, msg=f"step {step}"
            )


def test_prompts_of_different_lengths_share_a_cache(model):
    """The tokens beyond the end of a row are replaced before each step, as generate does."""
    idx, ends = tokens(5, T), torch.tensor([1, 2, 4, 4, 6])
    reader = CachedReader(model)
    with torch.no_grad():
        for step in range(T - 6):
            now = ends + step
            logits = reader(idx.where(torch.arange(T) < now[:, None], PAD), now)
            for row in range(5):
                alone = model(idx[row : row + 1, : now[row]])[0][0, -1]
                torch.testing.assert_close(logits[row], alone, rtol=1e-4, atol=1e-4)


def test_what_all_prompts_begin_with_is_read_once(model):
    B, shared, rest, new = 4, 6, 3, 4
    idx = tokens(B, shared + rest)
    idx[:, :shared] = idx[0, :shared]
    idx[:, shared], idx[:, shared + 1] = torch.arange(2, 2 + B), 5  # after a difference equal tokens are not shared
    n_read: list[int] = []
    for shortest in (shared + rest, shared, 1):  # the last token of the shortest prompt is left to be read
        lengths = torch.tensor([shared + rest] * (B - 1) + [shortest])
        n_read.clear()
        with model.tok_emb.register_forward_pre_hook(lambda _, args: n_read.append(args[0].numel())):
            cached = model.generate(idx, lengths, new, reader=CachedReader(model))
        assert torch.equal(cached, model.generate(idx, lengths, new))
        if model.mechanism.cacheable:
            once = min(shared, shortest - 1)
            assert sum(n_read) == once + B * (shared + rest - once) + B * (new - 1)


# ------------------------------------------------------------------------------------ rows of a packed batch, on a GPU


CUDA = torch.device("cuda")


def rows_on_gpu(dtype: torch.dtype) -> tuple[PackedRows, list[torch.Tensor], torch.Tensor]:
    """Rows of 0 to 40 tokens in more slots than they fill; queries, keys and values; and a gradient of the output."""
    rows = PackedRows(torch.tensor([40, 0, 7, 23, 1, 40, 16], device=CUDA), 40, N=200)
    tensors = [torch.randn(1, 4, 200, 32, device=CUDA, dtype=dtype) for _ in range(4)]
    return rows, [x.requires_grad_() for x in tensors[:3]], tensors[3] / 10_000  # as small as those of a mean


@needs_cuda
@pytest.mark.parametrize("dtype, error", [(torch.float32, 2e-3), (torch.bfloat16, 2e-2)], ids=["TF32", "bf16"])
def test_the_kernel_attends_within_each_packed_row(dtype, error):
    with precision("tf32"):
        rows, inputs, gradient = rows_on_gpu(dtype)
        assert has_packed_kernel(CausalSelfAttention(GPTConfig(**SMALL)), inputs[0])
        y = packed_attention(*inputs, rows.bounds, 40, 0.0)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = by_rows(*exact, rows.bounds, 40, 0.0)
    found = [y, *torch.autograd.grad(y, inputs, gradient)]
    wanted = [expected, *torch.autograd.grad(expected, exact, gradient.double())]
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype and (a - b).norm() < error * b.norm()


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["TF32", "bf16"])
def test_the_kernel_drops_the_same_weights_in_its_backward_pass(dtype):
    """The output is linear in the values, so both products with their gradients are the same."""
    with precision("tf32"):
        rows, inputs, gradient = rows_on_gpu(dtype)
        y = packed_attention(*inputs, rows.bounds, 40, 0.5)
        assert not torch.equal(y, packed_attention(*inputs, rows.bounds, 40, 0.5)), "weights are dropped"
    v = inputs[2]
    of_values = torch.autograd.grad(y, v, gradient)[0]
    torch.testing.assert_close((y * gradient).double().sum(), (v * of_values).double().sum(), rtol=5e-2, atol=3e-4)


@needs_cuda
def test_gradients_of_any_size_survive_float16():
    with precision("tf32"):
        rows, inputs, gradient = rows_on_gpu(torch.float32)
        small, large = (
            torch.autograd.grad(packed_attention(*inputs, rows.bounds, 40, 0.0), inputs, gradient * factor)
            for factor in (1, 2**17)  # the largest are about 50
        )
    for a, b in zip(large, small, strict=True):
        torch.testing.assert_close(a, b * 2**17, rtol=1e-2, atol=0.1)


@needs_cuda
def test_full_float32_is_not_rounded_to_float16():
    attn = CausalSelfAttention(GPTConfig(**SMALL))
    with precision("float32"):
        assert not has_packed_kernel(attn, rows_on_gpu(torch.float32)[1][0])
    q, k, v = torch.randn(3, 2, 2, 9, 8, device=CUDA)
    with precision("float32"):
        expected = by_rows(q[:1].double(), k[:1].double(), v[:1].double(), torch.tensor([0, 9]), 9, 0.0)
        torch.testing.assert_close(fused_attention(attn.eval(), q, k, v)[:1].double(), expected, rtol=1e-5, atol=1e-6)
