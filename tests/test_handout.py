"""What students type, wrote and trained works here: command lines, modules and parameter files of the course.

The files of the course's code are stand-ins, made from a description of it: its names, widths and buffers.
"""

import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import run
from attention import precompute_rotary_emb
from conftest import loud
from handout.commands import parsed
from model import GPT, GPTConfig
from safe.files import export, model_of, read_parameters, save_parameters
from safe.flags import PARSER
from starting import python

ROOT = Path(__file__).resolve().parent.parent
QUICK = ROOT / "data" / "quick"
TINY = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 72 --max_epochs 1 --device cpu".split()
SIZES = dict(vocab_size=23, block_size=12, n_layer=3, n_head=2, n_embd=16)


# ------------------------------------------------------------------------------------------------------- commands


def in_our_terms(line: str) -> dict:
    return vars(PARSER.parse_args(line.split()))


FILES = "--reading_params_path p --eval_corpus_path d.tsv --outputs_path o"


@pytest.mark.parametrize(
    "line, ours",
    [
        (
            "--function=pretrain --variant=vanilla --pretrain_corpus_path=./data/wiki.txt --writing_params_path=p",
            "pretrain vanilla ./data/wiki.txt --writing_params_path p",
        ),
        (
            "--no-compile --backend=aot_eager --function=evaluate --variant=rope --pretrain_corpus_path=w " + FILES,
            "evaluate rope w " + FILES,
        ),
        (
            "--compile --backend inductor --variant perceiver --function finetune --pretrain_corpus_path w "
            "--writing_params_path p --finetune_corpus_path t",
            "finetune perceiver w --writing_params_path p --finetune_corpus_path t --compile on",
        ),
        ("pretrain vanilla w \u2013writing_params_path p", "pretrain vanilla w --writing_params_path p"),
        ("pretrain vanilla w \u2014\u2014writing_params_path=p", "pretrain vanilla w --writing_params_path p"),
        ("evaluate vanilla w --pretrain_lr 6e-3 " + FILES + " --finetune_lr=6e-4", "evaluate vanilla w " + FILES),
        (
            "pretrain vanilla w --writing_params_path p --outputs_path x --predictions_path a b --seed 4",
            "pretrain vanilla w --writing_params_path p --seed 4",
        ),
    ],
)
def test_a_command_line_of_the_course_means_what_ours_means(line, ours):
    assert parsed(line.split()) == in_our_terms(ours)


def test_what_is_changed_is_said(capsys):
    parsed(
        "evaluate vanilla w --pretrain_lr 1 \u2013reading_params_path p --eval_corpus_path d --outputs_path o".split()
    )
    said = capsys.readouterr().err
    assert "--pretrain_lr: ignored: evaluate has no such flag" in said
    assert "U+2013" in said and "read as --reading_params_path" in said


@pytest.mark.parametrize("line", ["pretrain vanila w", "pretrain vanilla", "evaluate vanilla w --no_such_flag 1", "go"])
def test_what_nobody_understands_is_refused_in_one_line(line, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(line.split())
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and said.startswith("run.py: ")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the small corpus, in which the commands are called."""
    for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv", "birth_test_inputs.tsv"):
        (tmp_path / name).write_bytes((QUICK / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_file_that_a_note_names_cannot_speak_to_the_terminal(here, capsys):
    assert run.main(["finetune", "vanilla", "wiki.txt", *TINY]) == 0
    words = ["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "vanilla.model.params"]
    assert run.main([*words, "--eval_corpus_path", "bell\a\x1b[2J.tsv"]) == 2
    said = capsys.readouterr().err
    assert "bell\\x07\\x1b[2J" in said and all(line.isprintable() for line in said.splitlines())


def test_without_names_files_are_called_as_run_sh_calls_them(here, capsys):
    assert run.main(["pretrain", "vanilla", "wiki.txt", *TINY]) == 0
    assert "writing vanilla.pretrain.params" in capsys.readouterr().err
    assert run.main(["finetune", "vanilla", "wiki.txt", *TINY]) == 0
    start = ["--reading_params_path", "vanilla.pretrain.params"]
    assert run.main(["finetune", "vanilla", "wiki.txt", *start, "--max_epochs", "1", "--device", "cpu"]) == 0
    for kind in ("model", "finetune"):
        assert run.main(["evaluate", "vanilla", "wiki.txt", "--reading_params_path", f"vanilla.{kind}.params"]) == 0
    test = ["--eval_corpus_path", "birth_test_inputs.tsv"]
    assert run.main(["evaluate", "vanilla", "wiki.txt", "--reading_params_path", "vanilla.finetune.params", *test]) == 0
    written = {path.name for path in here.iterdir() if path.suffix in (".params", ".predictions")}
    assert written == {
        *[f"vanilla.{kind}.params" for kind in ("pretrain", "model", "finetune")],
        *[f"vanilla.{kind}.predictions" for kind in ("nopretrain.dev", "pretrain.dev", "pretrain.test")],
    }


def test_predictions_of_other_parameters_are_not_overwritten_unasked(here, capsys):
    assert run.main(["finetune", "vanilla", "wiki.txt", *TINY]) == 0
    command = ["evaluate", "vanilla", "wiki.txt", "--reading_params_path"]
    assert run.main([*command, "vanilla.model.params"]) == 0
    assert run.main([*command, "vanilla.model.params"]) == 0, "the same again"
    other = ["--writing_params_path", "b.model.params", "--seed", "1"]
    assert run.main(["finetune", "vanilla", "wiki.txt", *TINY, *other]) == 0
    before = (here / "vanilla.nopretrain.dev.predictions").read_bytes()
    with pytest.raises(SystemExit):
        run.main([*command, "b.model.params"])
    assert "--outputs_path" in capsys.readouterr().err
    assert (here / "vanilla.nopretrain.dev.predictions").read_bytes() == before


# ------------------------------------------------------------------------------------------------- parameter files


def config_of(variant: str, **options) -> GPTConfig:
    if variant == "perceiver":
        options = {"bottleneck_dim": 4, **options}
    return GPTConfig(**SIZES, variant=variant, options=options)


def course_file(model: GPT, table: torch.Tensor | None = None) -> dict:
    """The state_dict as the course's code saves it: a mask in every attention, and for rope a table."""
    found = dict(model.state_dict())
    M = model.config.options.get("bottleneck_dim")
    for name in {name.rsplit(".attn.", 1)[0] for name in found if ".attn." in name}:
        size = M if M and name.startswith("blocks.") else model.config.block_size
        found[f"{name}.attn.mask"] = torch.tril(torch.ones(size, size)).view(1, 1, size, size)
        if model.config.variant == "rope":
            found[f"{name}.attn.rope_cache"] = precompute_rotary_emb(8, 12) if table is None else table
    return found


def logits(model: GPT) -> torch.Tensor:
    idx = torch.randint(2, 23, (2, 12), generator=torch.Generator().manual_seed(3))
    return model.eval()(idx)[0]


VARIANTS = ["vanilla", "synthesizer", "perceiver", "rope"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: {f"_orig_mod.{name}": value for name, value in d.items()},
        lambda d: {f"module.{name}": value for name, value in d.items()},
        lambda d: {f"module._orig_mod.{name}": value for name, value in d.items()},
        lambda d: {name.replace("blocks.0.", "blocks.0._orig_mod."): value for name, value in d.items()},
    ],
    ids=["plain", "compiled", "parallel", "both", "a compiled block"],
)
def test_a_file_of_the_course_loads_with_its_buffers_and_prefixes(variant, wrap, capsys):
    model = loud(GPT(config_of(variant)), std=0.3)
    again = model_of("P", wrap(course_file(model)), asdict(model.config))
    assert torch.equal(logits(again), logits(model)) and again.state_dict().keys() == model.state_dict().keys()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_file_in_another_precision_is_computed_in_float32(dtype):
    model = loud(GPT(config_of("rope")), std=0.3)
    other = {name: value.to(dtype) for name, value in course_file(model).items()}
    again = model_of("P", other, asdict(model.config))
    assert again.head.weight.dtype == torch.float32
    torch.testing.assert_close(logits(again), logits(model), rtol=0.2, atol=0.2)


def test_a_legacy_file_loads(tmp_path):
    model = loud(GPT(config_of("vanilla")), std=0.3)
    torch.save(course_file(model), tmp_path / "old", _use_new_zipfile_serialization=False)
    state_dict, record = read_parameters(tmp_path / "old")
    assert record is None and torch.equal(logits(model_of("old", state_dict, asdict(model.config))), logits(model))


def rotated_by(table: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Each pair of channels as a complex number, times the number of the table."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.view_as_complex(table.contiguous())).flatten(-2)


@pytest.mark.parametrize("complex_numbers", [False, True])
def test_a_file_s_own_table_of_rotations_is_used_and_kept(complex_numbers, capsys, tmp_path, monkeypatch):
    """Off by one: theta_i with i from 1, where RoFormer's begins with theta = 1."""
    theta = 10000.0 ** (-torch.arange(2, 10, 2) / 8)
    angles = torch.arange(12)[:, None] * theta
    table = torch.stack([angles.cos(), angles.sin()], dim=-1)
    model = loud(GPT(config_of("rope")), std=0.5)
    in_file = torch.view_as_complex(table) if complex_numbers else table
    again = model_of("P", course_file(model, in_file), asdict(model.config))
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "P: its table of rotations is not RoFormer's" in said

    import attention

    monkeypatch.setattr(attention, "apply_rotary_emb", lambda x, cache: rotated_by(table[: x.size(-2)], x))
    expected = logits(model)
    monkeypatch.undo()
    torch.testing.assert_close(logits(again), expected)
    assert not torch.allclose(logits(model), expected, atol=1e-3), "with RoFormer's it answers otherwise"
    save_parameters(tmp_path / "Q", again, {})
    kept = torch.load(tmp_path / "Q")
    torch.testing.assert_close(logits(model_of("Q", kept, asdict(model.config))), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mask_that_is_not_causal_is_refused(variant):
    model = GPT(config_of(variant))
    found = course_file(model)
    name = next(name for name in found if name.endswith(".mask"))
    found[name] = torch.ones_like(found[name])
    with pytest.raises(ValueError, match="is not the causal mask"):
        model_of("P", found, asdict(model.config))


@pytest.mark.parametrize("width", [11, 12, 7])
def test_the_width_of_a_synthesizer_is_the_one_of_its_file(width):
    model = loud(GPT(config_of("synthesizer", synthesizer_width=width)), std=0.3)
    fields = {**asdict(model.config), "options": {}}  # a record that does not say it, or none
    again = model_of("P", course_file(model), fields)
    assert torch.equal(logits(again), logits(model)) and again.config.options["synthesizer_width"] == width


def test_a_perceiver_of_before_with_three_norms_loads():
    model = loud(GPT(config_of("perceiver", bottleneck_dim=4, projection_norms=3)), std=0.3)
    names = {"down_block.ln_tokens": "ln1", "down_block.ln1": "ln2", "down_block.ln2": "ln3"}
    names |= {"up_block.ln1": "ln1", "up_block.ln_tokens": "ln2", "up_block.ln2": "ln3"}
    old = {}
    for name, value in model.state_dict().items():
        module, _, last = name.rpartition(".")
        old[f"{module.split('.')[0]}.{names[module]}.{last}" if module in names else name] = value
    fields = asdict(model.config) | {"options": {"bottleneck_dim": 4, "latent_reach": "prefix"}}
    assert torch.equal(logits(model_of("P", old, fields)), logits(model))


def test_the_perceiver_has_the_parameters_of_the_course():
    model = GPT(GPTConfig(256, 128, variant="perceiver"))
    assert sum(p.numel() for p in model.parameters()) == 3_331_584


@pytest.mark.parametrize("variant", VARIANTS)
def test_exported_parameters_have_the_names_and_buffers_of_the_course(variant, tmp_path):
    model = loud(GPT(config_of(variant)), std=0.3)
    save_parameters(tmp_path / "P", model, {"variant": variant, "config": asdict(model.config), "vocabulary": "v" * 23})
    assert "the course's code" in export(tmp_path / "P", tmp_path / "Q")
    found, wanted = torch.load(tmp_path / "Q"), course_file(model)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize(
    "variant, options", [("linformer", {}), ("sinusoidal", {}), ("perceiver", {"latent_reach": "past"})]
)
def test_what_the_course_does_not_have_is_not_exported_to_it(variant, options, tmp_path):
    model = GPT(config_of(variant, **options))
    save_parameters(tmp_path / "P", model, {"variant": variant, "config": asdict(model.config), "vocabulary": "v" * 23})
    with pytest.raises(ValueError, match="the course's code has no"):
        export(tmp_path / "P", tmp_path / "Q")
    assert not (tmp_path / "Q").exists()


# ---------------------------------------------------------------------------------------------- a student's modules

RUN = """
import argparse, random
random.seed(0)
import torch
import dataset, {models}, trainer, utils
torch.manual_seed(0)
argp = argparse.ArgumentParser()
argp.add_argument('function'); argp.add_argument('variant'); argp.add_argument('pretrain_corpus_path')
for name in 'reading_params_path writing_params_path finetune_corpus_path eval_corpus_path outputs_path'.split():
    argp.add_argument('--' + name)
args = argp.parse_args()
block_size = 80
pretrain_dataset = dataset.CharCorruptionDataset(open(args.pretrain_corpus_path, encoding='utf-8').read(), block_size)
mconf = {models}.GPTConfig(pretrain_dataset.vocab_size, pretrain_dataset.block_size, n_layer=3, n_head=2, n_embd=16)
{choose}
model = {models}.GPT(mconf)
schedule = dict(lr_decay=True, warmup_tokens=512*20, num_workers=0{more})
if args.function == 'pretrain':
    tconf = trainer.TrainerConfig(max_epochs=1, batch_size=128, learning_rate=6e-3,
                                  final_tokens=200*len(pretrain_dataset)*block_size, **schedule)
    trainer.Trainer(model, pretrain_dataset, None, tconf).train()
    torch.save(model.state_dict(), args.writing_params_path)
elif args.function == 'finetune':
    if args.reading_params_path is not None:
        model.load_state_dict(torch.load(args.reading_params_path, map_location=torch.device('cpu')))
    text = open(args.finetune_corpus_path, encoding='utf-8').read()
    finetune_dataset = dataset.NameDataset(pretraining_dataset=pretrain_dataset, data=text)
    tconf = trainer.TrainerConfig(max_epochs=1, batch_size=256, learning_rate=6e-4,
                                  final_tokens=200*len(pretrain_dataset)*block_size, **schedule)
    tconf.ckpt_path = args.writing_params_path
    t = trainer.Trainer(model, finetune_dataset, None, tconf)
    t.train()
    t.save_checkpoint()
else:
    model.load_state_dict(torch.load(args.reading_params_path))
    predictions = []
    for line in open(args.eval_corpus_path, encoding='utf-8'):
        x = line.split('\\t')[0] + '\\u2047'
        x = torch.tensor([pretrain_dataset.stoi[s] for s in x], dtype=torch.long)[None, ...]
        pred = utils.sample(model, x, 32, sample=False)[0]
        completion = ''.join([pretrain_dataset.itos[int(i)] for i in pred])
        predictions.append(completion.split('\\u2047')[1])
    open(args.outputs_path, 'w', encoding='utf-8').write('\\n'.join(p.replace('\\n', ' ') for p in predictions))
    total, correct = utils.evaluate_places(args.eval_corpus_path, predictions)
    print('Correct: {{}} out of {{}}'.format(correct, total))
"""
EDITIONS = {
    "2021": dict(models="model", choose="if args.variant == 'synthesizer': mconf.additive = True", more=""),
    "2023": dict(
        models="model",
        choose="if args.variant == 'perceiver': mconf.perceiver, mconf.bottleneck_dim = True, 8",
        more=", writer=None",
    ),
    "2024": dict(models="models", choose="mconf.rope = args.variant == 'rope'", more=", ckpt_path=None, writer=None"),
}


def in_process(*words: str | Path, cwd: Path, path: tuple[str, ...] = ("src/handout", "src")) -> str:
    done = python(*words, cwd=cwd, env={"PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in path)})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("edition, variant", [("2021", "synthesizer"), ("2023", "perceiver"), ("2024", "rope")])
def test_a_student_s_run_py_runs_on_our_modules(edition, variant, here):
    (here / "run.py").write_text(RUN.format(**EDITIONS[edition]), encoding="utf-8")
    (here / "few.tsv").write_bytes(b"".join((QUICK / "birth_dev.tsv").read_bytes().splitlines(True)[:4]))
    words = ["run.py", "pretrain", variant, "wiki.txt", "--writing_params_path", "pre"]
    in_process(*words, cwd=here)
    rows = ["--finetune_corpus_path", "birth_places_train.tsv"]
    words = ["run.py", "finetune", variant, "wiki.txt", *rows, "--reading_params_path", "pre"]
    in_process(*words, "--writing_params_path", "fine", cwd=here)
    words = ["run.py", "evaluate", variant, "wiki.txt", "--reading_params_path", "fine"]
    said = in_process(*words, "--eval_corpus_path", "few.tsv", "--outputs_path", "out", cwd=here)
    assert "Correct: 0 out of 4" in said
    sizes = "--n_layer 3 --n_head 2 --n_embd 16 --block_size 80 --device cpu".split()
    sizes += ["--bottleneck_dim", "8"] * (variant == "perceiver")
    ours = ["evaluate", variant, "wiki.txt", "--reading_params_path", "fine", "--eval_corpus_path", "few.tsv"]
    assert run.main([*ours, "--outputs_path", "ours", *sizes]) == 0
    theirs = (here / "out").read_text(encoding="utf-8").split("\n")
    assert theirs == (here / "ours").read_text(encoding="utf-8").splitlines(), "the files of both mean the same model"


DEMO = """
import math, torch
from torch.utils.data import Dataset
from mingpt.utils import set_seed
set_seed(42)
class CharDataset(Dataset):
    def __init__(self, data, block_size):
        chars = sorted(list(set(data)))
        self.stoi = {ch: i for i, ch in enumerate(chars)}
        self.itos = {i: ch for i, ch in enumerate(chars)}
        self.block_size, self.vocab_size, self.data = block_size, len(chars), data
    def __len__(self):
        return len(self.data) - self.block_size
    def __getitem__(self, idx):
        dix = [self.stoi[s] for s in self.data[idx:idx + self.block_size + 1]]
        return torch.tensor(dix[:-1], dtype=torch.long), torch.tensor(dix[1:], dtype=torch.long)
train_dataset = CharDataset('and so on. ' * 60, 16)
from mingpt.model import GPT, GPTConfig
mconf = GPTConfig(train_dataset.vocab_size, train_dataset.block_size, n_layer=1, n_head=2, n_embd=16)
model = GPT(mconf)
from mingpt.trainer import Trainer, TrainerConfig
tconf = TrainerConfig(max_epochs=2, batch_size=16, learning_rate=6e-3, lr_decay=True, warmup_tokens=512,
                      final_tokens=2*len(train_dataset)*16, num_workers=0)
trainer = Trainer(model, train_dataset, None, tconf)
trainer.train()
from mingpt.utils import sample
x = torch.tensor([train_dataset.stoi[s] for s in 'and'], dtype=torch.long)[None, ...].to(trainer.device)
y = sample(model, x, 200, temperature=1.0, sample=True, top_k=5)[0]
print(''.join([train_dataset.itos[int(i)] for i in y]))
z = model.generate(x, 5)
print('shape', tuple(z.shape), model.get_block_size())
"""


def test_the_demo_of_the_course_runs_to_its_end_and_learns_every_character(tmp_path):
    """The blank has token 0, which our datasets ignore and minGPT does not."""
    (tmp_path / "demo.py").write_text(DEMO)
    said = in_process("demo.py", cwd=tmp_path)
    assert "shape (1, 8) 16" in said and " " in said.splitlines()[-2]


ATTENTION = """
import math, torch, torch.nn as nn
from torch.nn import functional as F
class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.key, self.query, self.value, self.proj = [nn.Linear(config.n_embd, config.n_embd) for _ in range(4)]
        self.drop = nn.Dropout(config.attn_pdrop)
        size = config.block_size
        self.register_buffer('mask', torch.tril(torch.ones(size, size)).view(1, 1, size, size))
        self.n_head = config.n_head
    def forward(self, x, layer_past=None):
        B, T, C = x.size()
        k, q, v = [f(x).view(B, T, self.n_head, C // self.n_head).transpose(1, 2)
                   for f in (self.key, self.query, self.value)]
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = F.softmax(att.masked_fill(self.mask[:, :, :T, :T] == 0, -1e10), dim=-1)
        y = (self.drop(att) @ v).transpose(1, 2).contiguous().view(B, T, C)
        return self.proj(y)
"""
DATASET = """
import random, torch
from torch.utils.data import Dataset
class CharCorruptionDataset(Dataset):
    def __init__(self, data, block_size):
        self.MASK_CHAR, self.PAD_CHAR = '\\u2047', '\\u25A1'
        chars = [self.PAD_CHAR, self.MASK_CHAR] + list(sorted(list(set(data))))
        self.stoi = {ch: i for i, ch in enumerate(chars)}
        self.itos = {i: ch for i, ch in enumerate(chars)}
        self.block_size, self.vocab_size, self.data = block_size, len(chars), data.split('\\n')
    def __len__(self):
        return len(self.data) - 1
    def __getitem__(self, idx):
        doc = self.data[idx][:random.randint(4, int(self.block_size * 7 / 8))]
        n = max(1, len(doc) // 4)
        i = random.randint(0, len(doc) - n)
        s = doc[:i] + self.MASK_CHAR + doc[i + n:] + self.MASK_CHAR + doc[i:i + n]
        s += self.PAD_CHAR * (self.block_size - len(s))
        ids = torch.tensor([self.stoi[c] for c in s], dtype=torch.long)
        return ids[:-1], ids[1:]
class NameDataset(Dataset):
    def __init__(self, pretraining_dataset, data):
        self.p, self.block_size = pretraining_dataset, pretraining_dataset.block_size
        self.data = [line for line in data.split('\\n') if line]
    def __len__(self):
        return len(self.data)
    def __getitem__(self, idx):
        inp, oup = self.data[idx].split('\\t')
        x = inp + self.p.MASK_CHAR + oup + self.p.MASK_CHAR
        x = x + self.p.PAD_CHAR * (self.block_size - len(x))
        y = self.p.PAD_CHAR * (len(inp) - 1) + x[len(inp):]
        x = x[:-1]
        return [torch.tensor([self.p.stoi[c] for c in s], dtype=torch.long) for s in (x, y)]
"""
MODEL = """
import torch, torch.nn as nn
from torch.nn import functional as F
import attention
class GPTConfig:
    embd_pdrop = resid_pdrop = attn_pdrop = 0.1
    rope = False
    def __init__(self, vocab_size, block_size, **kwargs):
        self.vocab_size, self.block_size = vocab_size, block_size
        for k, v in kwargs.items():
            setattr(self, k, v)
class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.attn = attention.CausalSelfAttention(config)
        self.mlp = nn.Sequential(nn.Linear(config.n_embd, 4 * config.n_embd), nn.GELU(),
                                 nn.Linear(4 * config.n_embd, config.n_embd), nn.Dropout(config.resid_pdrop))
    def forward(self, x):
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))
class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.tok_emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.pos_emb = nn.Parameter(torch.zeros(1, config.block_size, config.n_embd))
        self.blocks = nn.Sequential(*[Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.block_size = config.block_size
    def get_block_size(self):
        return self.block_size
    def forward(self, idx, targets=None):
        b, t = idx.size()
        x = self.blocks(self.tok_emb(idx) + self.pos_emb[:, :t, :])
        logits = self.head(self.ln_f(x))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=0)
        return logits, loss
"""
FORMS = {"dataset": DATASET, "attention": ATTENTION, "model": MODEL}


@pytest.mark.parametrize("names", [["dataset"], ["attention"], ["model"], ["dataset", "attention", "model"]])
def test_a_student_s_modules_are_driven_by_our_commands(names, here):
    (here / "theirs").mkdir()
    for name in names:
        (here / "theirs" / f"{name}.py").write_text(FORMS[name], encoding="utf-8")
    (here / "few.tsv").write_bytes(b"".join((QUICK / "birth_dev.tsv").read_bytes().splitlines(True)[:3]))
    sizes = "--n_layer 1 --n_head 2 --n_embd 16 --block_size 80".split()
    start = [ROOT / "src" / "run.py"], ["vanilla", "wiki.txt", "--modules", "theirs", *sizes]
    once = ["--max_epochs", "1"]
    in_process(*start[0], "pretrain", *start[1], *once, "--writing_params_path", "pre", cwd=here, path=())
    rows = ["--finetune_corpus_path", "birth_places_train.tsv", "--reading_params_path", "pre"]
    in_process(*start[0], "finetune", *start[1], *once, *rows, "--writing_params_path", "fine", cwd=here, path=())
    found = ["--reading_params_path", "fine", "--eval_corpus_path", "few.tsv", "--outputs_path", "out"]
    assert "out of 3" in in_process(*start[0], "evaluate", *start[1], *found, cwd=here, path=())
    ours = ["evaluate", "vanilla", "wiki.txt", *found[:4], "--outputs_path", "ours", *sizes, "--device", "cpu"]
    assert run.main(ours) == 0
    assert (here / "out").read_text(encoding="utf-8") == (here / "ours").read_text(encoding="utf-8")
    if "attention" in names:
        assert "blocks.0.attn.mask" in torch.load(here / "fine"), "trained with theirs"


def test_cross_attention_of_the_handout_sees_what_comes_before_its_query(here):
    """forward(x_kv, x_q), against a loop over queries."""
    code = """
import torch, attention, models
torch.manual_seed(0)
config = models.GPTConfig(9, 8, n_layer=3, n_head=2, n_embd=8)
layer = attention.CausalCrossAttention(config).eval()
x_kv, x_q = torch.randn(3, 7, 8), torch.randn(1, 4, 8)
found = layer(x_kv, x_q)
for i in range(4):
    torch.testing.assert_close(layer(x_kv[:, : i + 1], x_q[:, [i] * (i + 1)])[:, i], found[:, i])
    later = x_kv.clone()
    later[:, i + 1 :] += 1
    torch.testing.assert_close(layer(later, x_q)[:, i], found[:, i])
"""
    (here / "check.py").write_text(code)
    in_process("check.py", cwd=here)


def test_flags_of_two_variants_are_refused(here):
    code = "import models; c = models.GPTConfig(9, 8, n_layer=3, n_head=2, n_embd=8, rope=True); c.perceiver = True\n"
    (here / "check.py").write_text(
        code + "try:\n    models.GPT(c)\nexcept ValueError as error:\n    print(error)\n", encoding="utf-8"
    )
    assert "set the flag of one variant" in in_process("check.py", cwd=here)
