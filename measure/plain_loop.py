"""The yardstick: span corruption, model, training loop and decoding, written for reading as a course writes them.

Only the benchmark uses this. Each part does the work of its counterpart in src/ in the most direct way. Characters are
masked one example at a time in `__getitem__`. A DataLoader is made for every epoch. Attention is written out over the
padded batch. The loss is read back at every step. Each question is answered alone, with a whole forward pass for every
character. Parameters have the course's names, so they load into the model of src/ and back.
"""

import math
import random
from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from vocabulary import MASK_CHAR, PAD, PAD_CHAR


class PlainCorruptionDataset(Dataset):
    """Documents, one a line, as `prefix MASK suffix MASK span` and padding: x and y of block_size entries."""

    def __init__(self, text: str, block_size: int):
        self.itos = dict(enumerate([PAD_CHAR, MASK_CHAR, *sorted(set(text))]))
        self.stoi = {char: i for i, char in self.itos.items()}
        self.block_size = block_size
        self.data = text.split("\n")[:-1]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        kept = self.data[index][: random.randint(4, int(self.block_size * 7 / 8))]
        span = random.randint(1, max(1, len(kept) // 2 - 1))
        start = random.randint(0, len(kept) - span)
        string = kept[:start] + MASK_CHAR + kept[start + span :] + MASK_CHAR + kept[start : start + span]
        string += PAD_CHAR * (self.block_size + 1 - len(string))
        ids = [self.stoi[char] for char in string]
        return torch.tensor(ids[:-1]), torch.tensor(ids[1:])


class PlainAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.key = nn.Linear(config.n_embd, config.n_embd)
        self.query = nn.Linear(config.n_embd, config.n_embd)
        self.value = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.attn_pdrop)
        self.resid_drop = nn.Dropout(config.resid_pdrop)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.register_buffer("mask", torch.ones(config.block_size, config.block_size).tril()[None, None])
        self.n_head = config.n_head

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()
        k = self.key(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        q = self.query(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        v = self.value(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))  # (B, nh, T, T)
        att = att.masked_fill(self.mask[:, :, :T, :T] == 0, -math.inf)
        att = self.attn_drop(F.softmax(att, dim=-1))
        y = (att @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.resid_drop(self.proj(y))


class PlainBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln1 = nn.LayerNorm(config.n_embd)
        self.ln2 = nn.LayerNorm(config.n_embd)
        self.attn = PlainAttention(config)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.GELU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
            nn.Dropout(config.resid_pdrop),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class PlainGPT(nn.Module):
    """The vanilla model of a `model.GPTConfig`."""

    def __init__(self, config):
        super().__init__()
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.blocks = nn.Sequential(*[PlainBlock(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.block_size = config.block_size
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self.drop(self.tok_emb(idx) + self.pos_emb[:, : idx.size(1)])
        logits = self.head(self.ln_f(self.blocks(x)))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=PAD)


def train(
    model: PlainGPT,
    dataset: Dataset,
    config,
    num_workers: int,
    on_log: Callable[[dict[str, float]], None],
) -> None:
    """Train for all epochs of a `trainer.TrainerConfig`, and log when its Trainer logs."""
    device = next(model.parameters()).device
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    groups = [{"params": others, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)
    model.train()
    step = tokens = 0
    losses = []
    for _ in range(config.max_epochs):
        loader = DataLoader(
            dataset,
            shuffle=True,
            pin_memory=device.type == "cuda",
            batch_size=config.batch_size,
            num_workers=num_workers,
        )
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            _, loss = model(x, y)
            model.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_norm_clip)
            optimizer.step()

            tokens += (y >= 0).sum().item()
            if tokens < config.warmup_tokens:
                share = tokens / config.warmup_tokens
            else:
                progress = (tokens - config.warmup_tokens) / max(1, config.final_tokens - config.warmup_tokens)
                share = max(config.min_lr_share, 0.5 * (1.0 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * share
            losses.append(loss.item())
            step += 1
            if step % config.log_every == 0:
                on_log({"step": step, "loss": losses[-1]})


@torch.no_grad()
def answer(model: PlainGPT, dataset: PlainCorruptionDataset, question: str, n_new: int) -> str:
    """The likeliest `n_new` characters after `question MASK`, with a forward pass over the whole text for each."""
    model.eval()
    device = next(model.parameters()).device
    x = torch.tensor([[dataset.stoi[char] for char in question + MASK_CHAR]], device=device)
    for _ in range(n_new):
        logits, _ = model(x[:, -model.block_size :])
        x = torch.cat([x, logits[:, -1].argmax(dim=-1, keepdim=True)], dim=1)
    text = "".join(dataset.itos[int(i)] for i in x[0, len(question) + 1 :])
    return text.split(MASK_CHAR)[0].replace("\n", " ")
