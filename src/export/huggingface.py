"""A trained model in the terms of Hugging Face's transformers: GPT-2 for learned positions and sinusoids, GPT-NeoX
for rotary positions.

Both are pre-norm Transformers with biases and LayerNorm, as ours. Three settings make them the same function: the exact
GELU ("gelu"; GPT-2's own "gelu_new" is an approximation by tanh), an output layer of its own (GPT-2 ties it to the
embedding), and for GPT-NeoX rotation of all channels of a head and the MLP after attention instead of beside it.

Shapes:  C = n_embd, nh = n_head, hs = C / nh, T = block_size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attention import sinusoidal_positions
from model import GPT
from stages import ANSWER_LENGTH
from vocabulary import MASK, MASK_CHAR, PAD, PAD_CHAR, Vocabulary

LIBRARY = "Hugging Face"
PACKAGES = ("transformers", "tokenizers", "safetensors")
NAMES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer_config.json")


def check(path: str | Path, model: GPT) -> None:
    """Raise ValueError for a model that no architecture of transformers computes."""
    if model.config.variant not in ARCHITECTURES:
        raise ValueError(
            f"{path}: no architecture of Hugging Face computes the variant {model.config.variant}: "
            f"{', '.join(ARCHITECTURES)} can be exported to it, and --format onnx may take this one"
        )
    if any(name.endswith("rope_cache") for name in model.state_dict()):  # kept only if it is not RoFormer's
        raise ValueError(f"{path}: has a table of rotations of its own, and GPT-NeoX computes RoFormer's")


def tokenizer_of(vocabulary: Vocabulary) -> Any:
    """A `tokenizers.Tokenizer` in which each character is a token, with the ids of `vocabulary`.

    PAD and MASK are special tokens. A character that has no id raises an exception, as it does in our code: there is
    no token for unknown ones.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary.stoi))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # a dot does not match a newline
    tokenizer.decoder = decoders.Fuse()  # without spaces in between
    tokenizer.add_special_tokens([AddedToken(char, special=True, normalized=False) for char in (PAD_CHAR, MASK_CHAR)])
    return tokenizer


def write(folder: Path, model: GPT, tokenizer: Any) -> Callable[[Tensor], Tensor]:
    """Write the model and its tokenizer, and return the logits (B, T, V) that transformers computes from the files."""
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.disable_progress_bar()
    config, state_dict = ARCHITECTURES[model.config.variant](transformers, model)
    special = dict(pad_token=PAD_CHAR, eos_token=MASK_CHAR, mask_token=MASK_CHAR)
    inputs = ["input_ids", "attention_mask"]  # GPT-2 would add an embedding of token_type_ids
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **special,
        model_input_names=inputs,
        model_max_length=model.config.block_size,
        padding_side="left",  # what generate continues is the end of a row
        clean_up_tokenization_spaces=False,
    )
    theirs = transformers.AutoModelForCausalLM.from_config(config)
    theirs.load_state_dict(state_dict)
    theirs.generation_config = transformers.GenerationConfig(
        max_new_tokens=ANSWER_LENGTH, do_sample=False, eos_token_id=MASK, pad_token_id=PAD
    )
    try:
        theirs.save_pretrained(folder)
    except SafetensorError as error:  # such as a full disk
        raise OSError(f"{folder}: {error}") from None
    wrapped.save_pretrained(folder)
    read = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    return lambda idx: read(idx).logits


def gpt2(transformers: Any, model: GPT) -> tuple[Any, dict[str, Tensor]]:
    """The configuration and the state_dict of a GPT2LMHeadModel that computes what `model` does."""
    ours = model.config
    config = transformers.GPT2Config(
        **common(model),
        activation_function="gelu",
        embd_pdrop=ours.embd_pdrop,
        resid_pdrop=ours.resid_pdrop,
        attn_pdrop=ours.attn_pdrop,
        layer_norm_epsilon=model.ln_f.eps,
    )
    learned = model.mechanism.position == "learned"
    positions = model.pos_emb[0] if learned else sinusoidal_positions(torch.arange(ours.block_size), ours.n_embd)
    theirs = {"transformer.wte.weight": model.tok_emb.weight, "transformer.wpe.weight": positions}  # wpe: (T, C)
    for i, block in enumerate(list[Any](model.blocks)):
        attn, mlp, name = block.attn, block.mlp, f"transformer.h.{i}"
        theirs |= weights(f"{name}.ln_1", block.ln1) | weights(f"{name}.ln_2", block.ln2)
        qkv = (attn.query, attn.key, attn.value)
        theirs[f"{name}.attn.c_attn.weight"] = torch.cat([part.weight for part in qkv]).T  # (C, 3C): a Conv1D
        theirs[f"{name}.attn.c_attn.bias"] = torch.cat([part.bias for part in qkv])
        for conv, linear in {"attn.c_proj": attn.proj, "mlp.c_fc": mlp[0], "mlp.c_proj": mlp[2]}.items():
            theirs[f"{name}.{conv}.weight"], theirs[f"{name}.{conv}.bias"] = linear.weight.T, linear.bias
    theirs |= weights("transformer.ln_f", model.ln_f)
    theirs["lm_head.weight"] = model.head.weight
    return config, theirs


def gpt_neox(transformers: Any, model: GPT) -> tuple[Any, dict[str, Tensor]]:
    """The configuration and the state_dict of a GPTNeoXForCausalLM that computes what `model` does."""
    ours = model.config
    config = transformers.GPTNeoXConfig(
        **common(model),
        intermediate_size=4 * ours.n_embd,
        hidden_act="gelu",
        attention_dropout=ours.attn_pdrop,
        hidden_dropout=ours.resid_pdrop,
        layer_norm_eps=model.ln_f.eps,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        use_parallel_residual=False,
    )
    theirs = {"gpt_neox.embed_in.weight": model.tok_emb.weight}
    for i, block in enumerate(list[Any](model.blocks)):
        attn, name = block.attn, f"gpt_neox.layers.{i}"
        theirs |= weights(f"{name}.input_layernorm", block.ln1)
        theirs |= weights(f"{name}.post_attention_layernorm", block.ln2)
        # Each head holds its rows of query, key and value. GPT-NeoX rotates channel i with channel i + hs/2, and we
        # rotate neighbours: even channels go to the first half of the head, odd ones to the second.
        for kind in ("weight", "bias"):
            q, k, v = (
                getattr(part, kind).unflatten(0, (ours.n_head, -1)) for part in (attn.query, attn.key, attn.value)
            )
            halves = [torch.cat([x[:, ::2], x[:, 1::2]], dim=1) for x in (q, k)]  # (nh, hs, ...) each
            theirs[f"{name}.attention.query_key_value.{kind}"] = torch.cat([*halves, v], dim=1).flatten(0, 1)
        theirs |= weights(f"{name}.attention.dense", attn.proj)
        theirs |= weights(f"{name}.mlp.dense_h_to_4h", block.mlp[0]) | weights(
            f"{name}.mlp.dense_4h_to_h", block.mlp[2]
        )
    theirs |= weights("gpt_neox.final_layer_norm", model.ln_f)
    theirs["lm_head.weight"] = model.head.weight
    return config, theirs


ARCHITECTURES = {"vanilla": gpt2, "sinusoidal": gpt2, "rope": gpt_neox}


def common(model: GPT) -> dict[str, Any]:
    """What both configurations say by the same names (GPT-2 calls most of them otherwise, and takes these too)."""
    ours = model.config
    return dict(
        vocab_size=ours.vocab_size,
        max_position_embeddings=ours.block_size,
        num_hidden_layers=ours.n_layer,
        num_attention_heads=ours.n_head,
        hidden_size=ours.n_embd,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=MASK,
        pad_token_id=PAD,
    )


def weights(name: str, module: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
