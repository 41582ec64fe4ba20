"""What the tests share: a tiny corpus of people, its questions, small models, and oracles of attention."""

import math
import os
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

import fast.rows
from attention import VARIANTS
from dataset import CharCorruptionDataset, NameDataset
from model import GPT, GPTConfig

PLACES = ["Oslo", "Łódź", "Reykjavík", "Kyoto", "Turku"]
NAMES = ["Ada Fern", "Bo Lind", "Çem Ok", "Dag Moe", "Eve Ash", "Finn Roe", "Gus Hay", "Ida Ek"]
BLOCK_SIZE = 64

# The model of `every_setting`: a block so small that options need values other than their defaults.
V, T = 23, 12  # vocabulary and block
SMALL = dict(vocab_size=V, block_size=T, n_layer=2, n_head=2, n_embd=16)
SMALL |= dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
SMALL_OPTIONS = {"bottleneck_dim": 4, "chunk_size": 4, "summaries": 2, "sparse_block": 2, "n_features": 16}

# cuBLAS and the compiler read these once in a process, at their first use; see fast.device.repeatable.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the programs that tests start: each core has a test of its own

# On a busy machine an example may take longer than hypothesis allows.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

torch.set_num_threads(1)  # with models this small, waiting for a second thread costs more than it saves


def written_out_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The oracle of attention, softmax(q k' / sqrt(hs)) v: output (B, nh, T, hs) and weights (B, nh, T, S).

    mask (..., T, S) is True where a query may look. Without one, S is T and a token sees itself and its past.
    Source: Vaswani et al., "Attention Is All You Need" (arXiv 1706.03762), equation 1.
    """
    if mask is None:
        mask = torch.ones(q.size(-2), k.size(-2), dtype=torch.bool, device=q.device).tril()
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (B, nh, T, S)
    weights = scores.masked_fill(~mask, -math.inf).softmax(dim=-1)
    return weights @ v, weights


def by_rows(q, k, v, bounds, longest, p):
    """What the kernel for packed rows (fast.rows.packed_attention) should give: each row by itself."""
    bounds = bounds.tolist()
    assert bounds[0] == 0 and bounds[-1] == q.size(2) and p == 0
    rows = [slice(*ends) for ends in pairwise(bounds)]
    assert all(0 <= row.stop - row.start <= longest for row in rows), "the kernel is told the longest"
    parts = [written_out_attention(q[:, :, row], k[:, :, row], v[:, :, row])[0] for row in rows]
    return torch.cat(parts, dim=2)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def corpus_text() -> str:
    people = [(name, name.split()[1], PLACES[i % 5]) for i, name in enumerate(NAMES)]
    return "".join(f"{name}. Born in {place}, {surname} was a painter .\n" for name, surname, place in people)


@pytest.fixture
def questions_text() -> str:
    return "".join(f"Where was {name} born?\t{PLACES[i % 5]}\n" for i, name in enumerate(NAMES))


@pytest.fixture
def corpus(corpus_text) -> CharCorruptionDataset:
    # The questions' characters are part of the vocabulary, as they are of every real corpus.
    return CharCorruptionDataset(corpus_text + "Where was it? Nobody knows .\n", BLOCK_SIZE)


@pytest.fixture
def questions(corpus, questions_text) -> NameDataset:
    return NameDataset(corpus, questions_text)


@pytest.fixture
def make_model(corpus):
    """A function that builds a small model without dropout; keyword arguments change its GPTConfig."""

    def make(**changes) -> GPT:
        sizes = {
            "ignore_index": 0,
            "n_layer": 2,
            "n_head": 2,
            "n_embd": 32,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "attn_pdrop": 0.0,
        }
        return GPT(GPTConfig(**{"vocab_size": corpus.vocab_size, "block_size": BLOCK_SIZE, **sizes, **changes}))

    return make


def every_setting() -> list:
    """(variant, options) for each variant, and for each further choice that one of its options has."""
    found = []
    for variant, cls in VARIANTS.items():
        options = {name: SMALL_OPTIONS[name] for name in cls.options if name in SMALL_OPTIONS}
        found.append(pytest.param((variant, options), id=variant))
        for name, option in cls.options.items():
            for choice in sorted(set(option.choices or ()) - {option.default}):
                found.append(pytest.param((variant, {**options, name: choice}), id=f"{variant}-{choice}"))
    return found


def loud(module: torch.nn.Module, std: float = 0.3) -> Any:
    """The module in evaluation mode, with weights so large that everything in it matters."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=std)
    return module.eval()


def small_config(variant: str, options: dict[str, Any], **changes: Any) -> GPTConfig:
    n_layer = 3 if VARIANTS[variant].bottleneck else 2
    return GPTConfig(
        **{**SMALL, "n_layer": n_layer, "variant": variant, "options": options, "ignore_index": 0, **changes}
    )


@pytest.fixture(params=every_setting())
def model(request) -> GPT:
    """A small model of every variant and every choice of its options, in evaluation mode, with large weights."""
    return loud(GPT(small_config(*request.param)))


class Doubled(torch.nn.Linear):
    """A projection that is more than its matrix."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def tokens(*shape: int) -> Tensor:
    """Random token ids of the small models, neither PAD nor MASK."""
    return torch.randint(2, V, shape)


class OnGPU:
    """Stands for a tensor on a GPU with the type and the shape of `x`."""

    device = torch.device("cuda")

    def __init__(self, x: Tensor):
        self.dtype, self.size = x.dtype, x.size


@pytest.fixture
def packed_kernel(monkeypatch) -> list[int]:
    """Makes fast.rows choose the kernel for packed rows as on a GPU with TF32, and compute it with `by_rows`.

    The list holds the number of slots of each call.
    """
    calls: list[int] = []
    has_packed_kernel = fast.rows.has_packed_kernel
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    monkeypatch.setattr(fast.rows, "has_packed_kernel", lambda attn, q: has_packed_kernel(attn, OnGPU(q)))
    monkeypatch.setattr(fast.rows, "packed_attention", lambda q, *rest: calls.append(q.size(2)) or by_rows(q, *rest))
    return calls


@pytest.fixture
def folder(tmp_path, corpus_text, questions_text, monkeypatch) -> Path:
    """The current folder: it holds a corpus, questions with answers (train.tsv), and questions without (test.tsv)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wiki.txt").write_text(corpus_text + "Where was it? Nobody knows .\n", encoding="utf-8")
    (tmp_path / "train.tsv").write_text(questions_text, encoding="utf-8")
    (tmp_path / "test.tsv").write_text("".join(f"Where was {name} born?\n" for name in NAMES), encoding="utf-8")
    return tmp_path


def torchrun_environments(count: int) -> list[dict[str, str]]:
    """The environment in which torchrun starts each of `count` processes of one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=free.getsockname()[1])
    shared |= dict(WORLD_SIZE=count, LOCAL_WORLD_SIZE=count, OMP_NUM_THREADS=1)
    given = [shared | dict(RANK=rank, LOCAL_RANK=rank) for rank in range(count)]
    return [os.environ | {name: str(value) for name, value in environment.items()} for environment in given]


@pytest.fixture
def course_data() -> Path:
    """The folder of the course's own files, which are not part of the project."""
    if "COURSE_DATA" not in os.environ:
        pytest.skip("set COURSE_DATA to the folder of the course's files to run this test")
    return Path(os.environ["COURSE_DATA"])
