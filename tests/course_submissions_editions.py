"""Submissions with modules of their own, as students of the editions of 2021, 2023 and 2024 write them."""

LONDON = """
import argparse

import utils


def main():
    accuracy = 0.0
    with open("birth_dev.tsv", encoding="utf-8") as f:
        lines = f.readlines()
    total, correct = utils.evaluate_places("birth_dev.tsv", ["London"] * len(lines))
    accuracy = 100.0 * correct / total
    return accuracy


if __name__ == "__main__":
    accuracy = main()
    with open("london_baseline_accuracy.txt", "w", encoding="utf-8") as f:
        f.write(f"{accuracy}\\n")
"""

DATASET = """
import random

import torch
from torch.utils.data import Dataset


class NameDataset(Dataset):
    def __init__(self, pretraining_dataset, data):
        self.MASK_CHAR = pretraining_dataset.MASK_CHAR
        self.PAD_CHAR = pretraining_dataset.PAD_CHAR
        self.itos = pretraining_dataset.itos
        self.stoi = pretraining_dataset.stoi
        self.block_size = pretraining_dataset.block_size
        self.data = list(data.encode("utf-8").decode("utf-8").strip().split("\\n"))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, idx):
        inp, oup = self.data[idx].split("\\t")
        x = inp + self.MASK_CHAR + oup + self.MASK_CHAR
        x = x + self.PAD_CHAR * (self.block_size - len(x))
        y = self.PAD_CHAR * (len(inp) - 1) + x[len(inp):]
        x = x[:-1]
        x = torch.tensor([self.stoi[c] for c in x], dtype=torch.long)
        y = torch.tensor([self.stoi[c] for c in y], dtype=torch.long)
        return x, y


class CharCorruptionDataset(Dataset):
    def __init__(self, data, block_size):
        self.MASK_CHAR = "\\u2047"
        self.PAD_CHAR = "\\u25A1"
        chars = list(sorted(list(set(data))))
        assert self.MASK_CHAR not in chars
        chars.insert(0, self.MASK_CHAR)
        chars.insert(0, self.PAD_CHAR)
        self.stoi = {ch: i for i, ch in enumerate(chars)}
        self.itos = {i: ch for i, ch in enumerate(chars)}
        self.block_size = block_size
        self.vocab_size = len(chars)
        self.data = [line for line in data.split("\\n") if line]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, idx):
        document = self.data[idx]
        length = random.randint(4, int(self.block_size * 7 / 8))
        document = document[:length]
        quarter = len(document) / 4
        masked = int(random.uniform(quarter / 2, quarter * 3 / 2) + random.random())
        masked = min(max(1, masked), len(document))
        start = random.randint(0, len(document) - masked)
        string = document[:start] + self.MASK_CHAR + document[start + masked:]
        string += self.MASK_CHAR + document[start:start + masked]
        string += self.PAD_CHAR * (self.block_size - SHORT - len(string))
        x = torch.tensor([self.stoi[c] for c in string[:-1]], dtype=torch.long)
        y = torch.tensor([self.stoi[c] for c in string[1:]], dtype=torch.long)
        return x, y
"""

SELF_ATTENTION = """
import math

import torch
import torch.nn as nn
from torch.nn import functional as F


class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        mask = torch.tril(torch.ones(config.block_size, config.block_size))
        self.register_buffer("mask", mask.view(1, 1, config.block_size, config.block_size))
        self.n_head = config.n_head
        self.rope = getattr(config, "rope", False)
        if self.rope:
            self.register_buffer("rope_cache", precompute_rotary_emb(config.n_embd // config.n_head, config.block_size))

    def forward(self, x, layer_past=None):
        B, T, C = x.size()
        k = self.key(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        q = self.query(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        v = self.value(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        if self.rope:
            q, k = apply_rotary_emb(q, self.rope_cache), apply_rotary_emb(k, self.rope_cache)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.mask[:, :, :T, :T] == 0, float("-inf"))
        att = self.attn_drop(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_drop(self.proj(y))
"""

SYNTHESIZER = """

class SynthesizerAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.w1 = nn.Linear(config.n_embd, config.n_embd)
        self.w2 = nn.Parameter(torch.zeros(config.n_embd // config.n_head, config.block_size - 1))
        self.b2 = nn.Parameter(torch.zeros(config.block_size - 1))
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        mask = torch.tril(torch.ones(config.block_size, config.block_size))
        self.register_buffer("mask", mask.view(1, 1, config.block_size, config.block_size))
        self.n_head = config.n_head
        self.block_size = config.block_size
        nn.init.uniform_(self.w2, -0.001, 0.001)

    def forward(self, x, layer_past=None):
        B, T, C = x.size()
        v = self.value(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        relu_out = F.relu(self.w1(x)).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
        W = min(T, self.block_size - 1)
        scores = relu_out @ self.w2[:, :W] + self.b2[:W]
        scores = scores.masked_fill(self.mask[:, :, :T, :W] == 0, float("-inf"))
        prob_attn = self.attn_drop(F.softmax(scores, dim=-1))
        y = prob_attn @ v[:, :, :W]
        y = y.transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_drop(self.proj(y))
"""

CROSS = """

class CausalCrossAttention(CausalSelfAttention):
    def forward(self, x_kv, x_q):
        Bk, Tk, Ck = x_kv.size()
        Bq, Tq, Cq = x_q.size()
        k = self.key(x_kv).view(Bk, Tk, self.n_head, Ck // self.n_head).transpose(1, 2)
        q = self.query(x_q).view(Bq, Tq, self.n_head, Cq // self.n_head).transpose(1, 2)
        v = self.value(x_kv).view(Bk, Tk, self.n_head, Ck // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.mask[:, :, :Tq, :Tk] == 0, float("-inf"))
        att = self.attn_drop(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(Bk, Tq, Cq)
        return self.resid_drop(self.proj(y))
"""

ROPE = """

def precompute_rotary_emb(dim, max_positions):
    theta = 1.0 / (10000 ** (torch.arange(0, dim, 2).float() / dim))
    freqs = torch.outer(torch.arange(max_positions).float(), theta)
    return torch.stack([torch.cos(freqs), torch.sin(freqs)], dim=-1)


def apply_rotary_emb(x, rope_cache):
    T = x.shape[2]
    rope = torch.view_as_complex(rope_cache[:T].contiguous())
    x_ = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(x_ * rope[None, None]).flatten(3).type_as(x)
"""

MODEL = """
import torch
import torch.nn as nn
from torch.nn import functional as F

import attention


class GPTConfig:
    embd_pdrop = resid_pdrop = attn_pdrop = 0.1
    perceiver = False
    bottleneck_dim = None

    def __init__(self, vocab_size, block_size, **kwargs):
        self.vocab_size, self.block_size = vocab_size, block_size
        for k, v in kwargs.items():
            setattr(self, k, v)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = attention.CausalSelfAttention(config)
        self.mlp = make_mlp(config)

    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


def make_mlp(config):
    n = config.n_embd
    return nn.Sequential(nn.Linear(n, 4 * n), nn.GELU(), nn.Linear(4 * n, n), nn.Dropout(config.resid_pdrop))


class DownProjectBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.C = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, config.bottleneck_dim, config.n_embd)))
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = attention.CausalCrossAttention(config)
        self.mlp = make_mlp(config)

    def forward(self, x_input):
        c = self.C.expand(x_input.shape[0], -1, -1)
        c = c + self.attn(x_input, self.ln1(c))
        return c + self.mlp(self.ln2(c))


class UpProjectBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = attention.CausalCrossAttention(config)
        self.mlp = make_mlp(config)

    def forward(self, y, x_input):
        x = x_input + self.attn(self.ln1(y), x_input)
        return x + self.mlp(self.ln2(x))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.perceiver = config.perceiver
        if config.perceiver:
            self.down_block, self.up_block = DownProjectBlock(config), UpProjectBlock(config)
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer - 2 * bool(config.perceiver))])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.block_size = config.block_size

    def get_block_size(self):
        return self.block_size

    def configure_optimizers(self, train_config):
        matrices = {id(m.weight) for m in self.modules() if isinstance(m, nn.Linear)}
        decay = [p for p in self.parameters() if id(p) in matrices]
        rest = [p for p in self.parameters() if id(p) not in matrices]
        groups = [{"params": decay, "weight_decay": train_config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=train_config.learning_rate, betas=train_config.betas)

    def forward(self, idx, targets=None):
        x_input = self.drop(self.tok_emb(idx) + self.pos_emb[:, : idx.size(1), :])
        x = self.down_block(x_input) if self.perceiver else x_input
        x = self.blocks(x)
        x = self.up_block(x, x_input) if self.perceiver else x
        logits = self.head(self.ln_f(x))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=0)
        return logits, loss
"""

EDITIONS = {  # mechanism: files
    "synthesizer": {
        "src/dataset.py": DATASET.replace("- SHORT", ""),  # x and y have block_size - 1 entries
        "src/attention.py": SELF_ATTENTION + SYNTHESIZER,
        "src/london_baseline.py": LONDON,
    },
    "perceiver": {
        "src/dataset.py": DATASET.replace("- SHORT", "+ 1"),
        "src/attention.py": SELF_ATTENTION + CROSS,
        "src/model.py": MODEL,
        "src/london_baseline.py": LONDON,
    },
    "rope": {
        "src/dataset.py": DATASET.replace("- SHORT", "+ 1"),
        "src/attention.py": SELF_ATTENTION + ROPE,
        "src/london_baseline.py": LONDON,
    },
}
