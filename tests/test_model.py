"""Shows what every variant of the GPT fulfils: names, sizes, causality, the loss, loading, and generation."""

import math
from dataclasses import asdict, replace

import pytest
import torch
from torch.nn import functional as F

import model as model_module
from attention import register
from conftest import SMALL, T, V, tokens
from dataset import encode_questions
from fast.rows import CachedReader
from model import GPT, GPTConfig, evaluation_mode
from safe.files import model_of
from trainer import Trainer, TrainerConfig
from vocabulary import MASK, PAD

# ------------------------------------------------------------------------------------------- names, sizes, start


def test_the_number_of_parameters_is_that_of_the_course():
    model = GPT(GPTConfig(vocab_size=256, block_size=128))
    assert sum(p.numel() for p in model.parameters()) == 3_323_392


def test_parameters_have_the_names_of_the_course():
    names = {"tok_emb.weight", "pos_emb", "ln_f.weight", "ln_f.bias", "head.weight"}
    for i in range(2):
        parts = ["ln1", "ln2", "attn.key", "attn.query", "attn.value", "attn.proj", "mlp.0", "mlp.2"]
        names |= {f"blocks.{i}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert set(GPT(GPTConfig(**SMALL)).state_dict()) == names


def test_parameters_are_initialised_as_in_the_course():
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


def test_the_loss_of_a_new_model_is_that_of_guessing(model):
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


def test_a_name_is_registered_only_once():
    with pytest.raises(ValueError, match="'vanilla' is registered twice"):
        register("vanilla")(torch.nn.Identity)


# ------------------------------------------------------------------------------------ the contract of all variants


@pytest.mark.parametrize("length", [1, 7, T])
def test_logits_have_a_row_of_the_vocabulary_for_each_token(model, length):
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


def test_the_first_token_changes_the_last_logits(model):
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
    noisy.load_state_dict(model.state_dict())
    idx = tokens(2, T)
    assert torch.equal(noisy.eval()(idx)[0], noisy(idx)[0])
    noisy.train()
    assert not torch.equal(noisy(idx)[0], noisy(idx)[0])


def test_saved_and_loaded_parameters_give_equal_logits(model):
    other = GPT(model.config).eval()
    other.load_state_dict(model.state_dict())
    idx = tokens(2, T)
    assert torch.equal(model(idx)[0], other(idx)[0])


def test_each_variant_differs_from_vanilla_with_the_same_parameters(model):
    """Detects a flag that is parsed while the model stays vanilla."""
    if model.config.variant == "vanilla":
        pytest.skip("nothing to differ from")
    vanilla = GPT(replace(model.config, variant="vanilla", options={})).eval()
    shapes = {name: value.shape for name, value in vanilla.state_dict().items()}
    shared = {name: value for name, value in model.state_dict().items() if value.shape == shapes.get(name)}
    vanilla.load_state_dict(shared, strict=False)
    for name, value in vanilla.named_parameters():
        if name.endswith("bias") and name not in shared:
            torch.nn.init.normal_(value)
    idx = tokens(2, T)
    assert not torch.allclose(vanilla(idx)[0], model(idx)[0], atol=1e-3)


# --------------------------------------------------------------------------------------------------------- the loss


def test_padding_carries_no_loss(model):
    idx, targets = tokens(2, T), tokens(2, T)
    targets[:, 5:] = PAD
    logits, loss = model(idx, targets)
    by_hand = F.cross_entropy(logits[:, :5].reshape(-1, V), targets[:, :5].reshape(-1))
    torch.testing.assert_close(loss, by_hand)


def test_another_id_can_be_ignored():
    """With ignore_index -100 a target PAD counts like any other."""
    model = GPT(GPTConfig(**SMALL, ignore_index=-100))
    targets = tokens(2, T)
    with_pad = targets.clone()
    with_pad[:, 0] = PAD
    idx = tokens(2, T)
    assert model(idx, targets)[1] != model(idx, with_pad)[1]
    ignored = with_pad.where(with_pad != PAD, torch.tensor(-100))
    logits, loss = model(idx, ignored)
    by_hand = F.cross_entropy(logits[:, 1:].reshape(-1, V), targets[:, 1:].reshape(-1))
    torch.testing.assert_close(loss, by_hand)


def test_sequences_longer_than_the_block_are_accepted_or_refused(model):
    """Rotary and sinusoidal positions exist at any length, learned ones do not."""
    assert model.mechanism.any_length == (model.config.variant in ("rope", "sinusoidal"))
    if model.mechanism.any_length:
        idx = tokens(2, 3 * T)
        logits = model(idx)[0]
        assert torch.isfinite(logits).all()
        torch.testing.assert_close(logits[:, :T], model(idx[:, :T])[0])
        longer = GPT(replace(model.config, block_size=3 * T)).eval()
        longer.load_state_dict(model.state_dict())
        torch.testing.assert_close(logits, longer(idx)[0])
    else:
        with pytest.raises(ValueError, match=f"{T + 1} tokens does not fit block_size {T}"):
            model(tokens(1, T + 1))


@pytest.mark.parametrize("value", ["x", None, 10**30])
def test_an_ignored_id_that_is_not_a_token_id_is_refused(value):
    with pytest.raises(ValueError, match="ignore_index is"):
        GPTConfig(**SMALL, ignore_index=value)


def test_no_prompts_have_no_answers():
    model, none = GPT(GPTConfig(**SMALL)), torch.zeros(0, dtype=torch.long)
    for reader in (None, CachedReader(model)):
        found, log_probs = model.generate(tokens(0, 3), none, 4, MASK, reader=reader, log_probs=True)
        assert found.shape == (0, 0) and log_probs.shape == (0, 0, V)


# ------------------------------------------------------------------------------------------- parameters from files


def test_a_model_is_made_of_its_parameters_and_its_config(model):
    again = model_of("P", model.state_dict(), asdict(model.config))
    assert again.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_parameters_of_the_course_load_with_the_masks_among_them(model):
    course = {**model.state_dict(), "blocks.0.attn.mask": torch.ones(1, 1, T, T).tril()}
    again = model_of("P", course, asdict(model.config))
    assert again.state_dict().keys() == model.state_dict().keys()


def test_parameters_of_another_size_are_refused_before_memory_is_taken(model, monkeypatch):
    """The shapes are compared with those of a model on the meta device, which has no memory."""
    config, parameters, devices = model.config, model.state_dict(), []
    init = GPT.__init__

    def noted(self, config):
        init(self, config)
        devices.append(self.head.weight.device.type)

    monkeypatch.setattr(GPT, "__init__", noted)
    assert isinstance(model_of("P", parameters, asdict(config)), GPT) and devices == ["meta", "cpu"]
    devices.clear()
    others = [dict(n_layer=config.n_layer + 1), dict(vocab_size=V + 1), dict(n_embd=2 * config.n_embd)]
    others += [dict(block_size=T + 1)] * (model.mechanism.position == "learned")
    for name in ("bottleneck_dim", "chunk_size", "summaries", "n_features"):  # options on which a shape depends
        if name in config.options:
            others.append(dict(options=config.options | {name: config.options[name] - 1}))
    for other in others:
        with pytest.raises(ValueError, match="^P: (has|.* has shape|lacks)"):
            model_of("P", parameters, asdict(replace(config, **other)))
    hollow = {name: value for name, value in parameters.items() if ".mlp." not in name}  # blocks in name only
    with pytest.raises(ValueError, match="^P: lacks the tensor blocks.0.mlp.0.bias"):
        model_of("P", hollow, asdict(config))
    assert set(devices) <= {"meta"}


def test_the_number_of_layers_is_checked_before_a_layer_is_made(monkeypatch):
    """A record may claim two million layers, for which even shapes would take minutes."""
    parameters = GPT(GPTConfig(**SMALL)).state_dict()
    monkeypatch.delattr(model_module, "Block")
    with pytest.raises(ValueError, match="P: has 2 blocks: not the parameters of 2000000 layers"):
        model_of("P", parameters, {**SMALL, "n_layer": 2_000_000})


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d.pop("ln_f.bias"), "lacks the tensor ln_f.bias"),
        (lambda d: d.update(extra=torch.ones(1)), "has an unknown tensor extra"),
        (lambda d: d.update({"head.weight": torch.ones(V, 8)}), r"head.weight has shape \(23, 8\) where .* \(23, 16\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_with_the_name_of_a_tensor(change, message):
    state_dict = dict(GPT(GPTConfig(**SMALL)).state_dict())
    change(state_dict)
    with pytest.raises(ValueError, match=f"^P: {message}"):
        model_of("P", state_dict, SMALL)


@pytest.mark.parametrize("change", [dict(n_layer="2"), dict(width=3), dict(n_embd=15), dict(variant="vanila")])
def test_a_recorded_config_that_cannot_be_built_is_refused(change):
    with pytest.raises(ValueError, match="^P: .*cannot be built: "):
        model_of("P", GPT(GPTConfig(**SMALL)).state_dict(), SMALL | change)


# ------------------------------------------------------------------------------------------------------ generation


def greedy_one_at_a_time(model: GPT, prompt: torch.Tensor, n: int, stop: int | None) -> list[int]:
    """As the course does it: one prompt, and a full forward pass for every character."""
    idx = prompt[None]
    for _ in range(n):
        token = model(idx[:, -model.config.block_size :])[0][0, -1].argmax()
        idx = torch.cat([idx, token.view(1, 1)], dim=1)
        if token == stop:
            break
    return idx[0, len(prompt) :].tolist()


@pytest.mark.parametrize("n", [1, 15])  # 15 outgrows the block: the window slides
def test_prompts_together_are_continued_as_each_alone(model, n):
    lengths = torch.tensor([1, 4, 7, 12, 15, 3])
    idx = tokens(6, 15)
    stop = int(model.generate(idx, lengths, n)[1, n // 2])  # a token that really occurs
    for stop_token in (None, stop):
        batched = model.generate(idx, lengths, n, stop_token)
        for i, length in enumerate(lengths):
            alone = greedy_one_at_a_time(model, idx[i, :length], n, stop_token)
            assert batched[i, : len(alone)].tolist() == alone
            assert stop_token is None or (batched[i, len(alone) :] == stop_token).all()


def test_generation_stops_when_every_row_has_ended(model):
    idx = tokens(1, 4)
    first = model.generate(idx, max_new_tokens=4)
    assert model.generate(idx, max_new_tokens=4, stop_token=int(first[0, 0])).shape == (1, 1)
    assert model.generate(idx, max_new_tokens=0).shape == (1, 0)


def test_what_follows_a_prompt_in_its_row_is_not_read(model):
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


def test_the_same_generator_draws_the_same_tokens(model):
    def draw(seed):
        return model.generate(idx, temperature=1.0, generator=torch.Generator().manual_seed(seed))

    idx = tokens(8, 4)
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("training", [True, False])
def test_generate_restores_the_mode_of_the_model(model, training):
    model.train(training)
    model.generate(tokens(1, 3), max_new_tokens=2)
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_generate_restores_the_mode_of_the_model(training, error):
    """As when somebody presses Ctrl-C, or memory does not suffice, in the middle of an answer."""
    model, modes = GPT(GPTConfig(**SMALL)).train(training), []

    def reader(seen, ends):
        modes.append(model.training)
        if len(modes) == 2:
            raise error
        return model.next_logits(seen, ends)

    with pytest.raises(error):
        model.generate(tokens(1, 3), max_new_tokens=4, reader=reader)
    assert modes == [False, False] and all(module.training is training for module in model.modules())


def test_evaluation_mode_lasts_for_the_block():
    model = GPT(GPTConfig(**SMALL)).train()
    with pytest.raises(KeyError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        with evaluation_mode(model):
            pass
        assert not model.training, "the inner block restores the mode of the outer one"
        raise KeyError
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("prompt, top_k, message", [(0, None, "a prompt of no tokens"), (4, 0, "top_k is 0")])
def test_a_prompt_that_cannot_be_continued_is_refused(model, prompt, top_k, message):
    model.train()
    with pytest.raises(ValueError, match=message):
        model.generate(torch.ones(2, prompt, dtype=torch.long), temperature=1.0, top_k=top_k)
    assert model.training, "as before"


def test_generate_uses_no_dropout():
    model, idx = GPT(GPTConfig(**SMALL | dict(resid_pdrop=0.5))).train(), tokens(8, 4)
    assert torch.equal(model.generate(idx), model.generate(idx))


def test_a_model_learns_a_batch_by_heart_and_answers_its_questions(corpus, questions, make_model):
    """Everything together: after 150 steps the model answers every question that it was trained on."""
    model = make_model()
    config = TrainerConfig(max_epochs=150, batch_size=8, learning_rate=3e-3)
    assert Trainer(model, questions, None, config).train()["loss"] < 0.05
    asked = [row.split("?")[0] + "?" for row in questions.data]
    ids, lengths = encode_questions(asked, corpus.vocabulary, corpus.block_size, "here")
    for row, produced in zip(questions.data, model.generate(ids, lengths, 12, MASK), strict=True):
        answer = corpus.vocabulary.decode(produced.tolist())
        assert answer.startswith(row.split("?")[1][1:])
