"""Submissions: the solution changed in one place. Wrong ones name what they lose points in, right ones nothing.

A change is (file, old text, new text). What is lost is named by topic; predictions by variant and kind.
"""

from pathlib import Path
from typing import NamedTuple

ATTENTION, EFFICIENT, MODEL, DATASET = (f"src/{n}.py" for n in ("attention", "efficient_attention", "model", "dataset"))
BASELINE = "london_baseline.py"
BATCH = "    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:\n"
BATCH += '        """(x, y), each (B, T): the four steps above'


class Change(NamedTuple):
    path: str
    old: str
    new: str


# One character after another, without `batch`.
BY_CHARACTER = """
        import random

        document = self.data[index]
        size = min(len(document), random.randint(self.min_length, self.max_length))
        quarter = random.uniform(size / 8, 3 * size / 8)
        masked = max(1, int(quarter + random.random()))
        begin = random.randint(0, size - masked)
        string = ""
        for place, char in enumerate(document[:size]):
            if place == begin:
                string += self.MASK_CHAR
            if not begin <= place < begin + masked:
                string += char
        string += "" if begin < size else self.MASK_CHAR
        string += self.MASK_CHAR + document[begin : begin + masked]
        string += self.PAD_CHAR * (self.block_size + 1 - len(string))
        ids = torch.tensor([self.stoi[char] for char in string])
        return ids[:-1], ids[1:]
"""
NUMPY = """
        text = np.array([self.stoi[c] for c in self.data[index]])
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        text = text[: rng.integers(self.min_length, self.max_length + 1)]
        n = len(text)
        k = int(np.clip(np.floor(n / 8 + rng.random() * n / 4 + rng.random()), 1, n))
        i = int(rng.integers(0, n - k + 1))
        out = np.zeros(self.block_size + 1, dtype=np.int64)
        pieces = [text[:i], [self.stoi[self.MASK_CHAR]], text[i + k :], [self.stoi[self.MASK_CHAR]], text[i : i + k]]
        row = np.concatenate(pieces)
        out[: len(row)] = row
        return torch.from_numpy(out[:-1].copy()), torch.from_numpy(out[1:].copy())
"""
ONE_TENSOR = """
        doc = self.data[index]
        L = int(torch.randint(4, int(self.block_size * 7 / 8) + 1, (1,)))
        doc = doc[:L]
        m = int(torch.randint(1, max(1, len(doc) // 2) + 1, (1,)))
        s = int(torch.randint(0, len(doc) - m + 1, (1,)))
        M, P = self.MASK_CHAR, self.PAD_CHAR
        masked = doc[:s] + M + doc[s + m:] + M + doc[s:s + m] + M
        masked = masked.ljust(self.block_size + 1, P)
        x = torch.tensor([self.stoi[c] for c in masked[:-1]], dtype=torch.long)
        y = torch.tensor([self.stoi[c] for c in masked[1:]], dtype=torch.long)
        return x, y
"""


def getitem(body: str = BY_CHARACTER, old: str = "", new: str = "") -> Change:
    assert not old or body.count(old) == 1, old
    return Change(DATASET, BATCH, f"    def __getitem__(self, index):{body.replace(old, new)}\n{BATCH}")


def attention(old: str, new: str) -> Change:
    return Change(ATTENTION, old, new)


THETA = "    theta = 10000.0 ** (-torch.arange(0, dim, 2) / dim)  # (dim/2,)\n"
ANGLES = "    angles = torch.arange(max_positions)[:, None] * theta  # (max_positions, dim/2)\n"
TABLE = "    return torch.stack([angles.cos(), angles.sin()], dim=-1)\n\n\ndef apply"
COS = "    cos, sin = cache.to(x.dtype).unbind(-1)  # (..., T, hs/2) each\n"
PAIRS = "    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)  # (B, nh, T, hs/2) each\n"
TURN = "    return torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)\n"
SCORES = "        scores = hidden.relu() @ self.w2[:, :S] + self.b2[:S]  # (B, nh, T, S)\n"
WEIGHTS = "        weights = scores.masked_fill(~mask[..., :S], -math.inf).softmax(dim=-1)\n"
READ = "        return self.attn_drop(weights) @ v[:, :, :S]\n"
CROSS = "        y = self.attend(rows_q.whole(q), rows_kv.whole(k), rows_kv.whole(v), mask)  # (B, nh, Tq, hs)\n"
DOWN = "        mask = torch.arange(T, device=x.device) <= last_seen(self.config, x.device)[:, None]  # (M, T)\n"
UP = "        mask = last_seen(self.config, x.device) <= torch.arange(T, device=x.device)[:, None]  # (T, M)\n"
LATENTS = "        latents = latents + self.attn(self.ln_tokens(x), self.ln1(latents), mask, rows_kv=rows)\n"
LONDON = '        total, correct = evaluate_places(path, ["London"] * len(read_places(path)))\n'
EXPECTED = "    return len(places), sum(["
EVIL = "    cache = rope_cache[:, None] if rope_cache.dim() == 4 else rope_cache[: x.size(-2)]  # (..., T, hs/2, 2)\n"

MISTAKES = {  # name: (topics that lose points, change)
    "window": ({"span"}, getitem(old="document[:size]", new="document[1 : size + 1]")),
    "y_not_shifted": ({"span"}, getitem(old="ids[:-1], ids[1:]", new="ids[:-1], ids[:-1]")),
    "fixed_span": ({"span"}, getitem(old="random.uniform(size / 8, 3 * size / 8)", new="size / 4 - random.random()")),
    "one_mask": ({"span"}, getitem(old="self.MASK_CHAR + document", new="document")),
    "span_at_the_end": ({"span"}, getitem(old="random.randint(0, size - masked)", new="size - masked")),
    "never_truncated": (
        {"span"},
        getitem(old="random.randint(self.min_length, self.max_length)", new="self.max_length"),
    ),
    "character_lost": ({"span"}, getitem(old="< begin + masked", new="<= begin + masked")),
    "masks_for_padding": ({"span"}, getitem(old="self.PAD_CHAR *", new="self.MASK_CHAR *")),
    "empty_span": ({"span"}, getitem(old="max(1, int(quarter + random.random()))", new="int(quarter)")),
    "span_off_by_one": (
        {"span"},
        getitem(old="document[begin : begin + masked]", new="document[begin + 1 : begin + masked + 1]"),
    ),
    "mask_lost_by_an_editor": ({"span"}, getitem(old="string += self.MASK_CHAR + doc", new='string += "." + doc')),
    "longest_prefix_off_by_one": ({"span"}, getitem(old="self.max_length)", new="self.max_length + 1)")),
    "too_many_entries": ({"span"}, getitem(old="ids[:-1], ids[1:]", new="ids, ids")),
    "always_the_same": ({"span"}, getitem(old="import random\n", new="import random\n        random.seed(index)\n")),
    "never_the_last_start": ({"span"}, getitem(old="size - masked)", new="max(0, size - masked - 1))")),
    "rope_sign": ({"rope"}, attention(THETA, THETA.replace("(-torch", "(torch"))),
    "rope_turns_back": (
        {"rope"},
        attention(TURN, TURN.replace("- b * sin, a * sin +", "+ b * sin, b * cos - a * sin + 0 *")),
    ),
    "rope_index_from_one": ({"rope"}, attention(THETA, THETA.replace("0, dim, 2", "2, dim + 2, 2"))),
    "rope_of_n_embd": (
        {"rope"},
        attention("(config.n_embd // config.n_head, config.block_size)", "(config.n_embd, config.block_size)"),
    ),
    "rope_axes_swapped": ({"rope"}, attention(TABLE, TABLE.replace("dim=-1)", "dim=-1).transpose(0, 1)"))),
    "rope_by_head": ({"rope"}, attention(EVIL, "    cache = rope_cache[: x.size(1), None]\n")),
    "rope_halves": ({"rope"}, attention(PAIRS, "    a, b = x.chunk(2, dim=-1)\n")),
    "rope_without_gradient": ({"rope"}, attention(TURN, TURN.replace(".flatten(-2)", ".flatten(-2).detach()"))),
    "rope_for_queries_only": (
        {"rope"},
        attention(
            "apply_rotary_emb(q, rope_cache), apply_rotary_emb(k, rope_cache)", "apply_rotary_emb(q, rope_cache), k"
        ),
    ),
    "rope_hard_coded": ({"rope"}, attention(THETA, "    dim = 8\n" + THETA)),
    "rope_flag_not_used": (
        {"rope"},
        Change(
            MODEL,
            "(attention or VARIANTS[config.variant])(config)",
            '(attention or VARIANTS[config.variant.replace("rope", "vanilla")])(config)',
        ),
    ),
    "synthesizer_without_relu": ({"synthesizer"}, attention(SCORES, SCORES.replace(".relu()", ""))),
    "synthesizer_without_b2": ({"synthesizer"}, attention(SCORES, SCORES.replace(" + self.b2[:S]", ""))),
    "synthesizer_large_number": ({"synthesizer"}, attention(WEIGHTS, WEIGHTS.replace("-math.inf", "-1e10"))),
    "synthesizer_not_causal": (
        {"synthesizer"},
        attention(WEIGHTS, WEIGHTS.replace(".masked_fill(~mask[..., :S], -math.inf)", "")),
    ),
    "synthesizer_normalised_by_column": ({"synthesizer"}, attention(WEIGHTS, WEIGHTS.replace("dim=-1", "dim=-2"))),
    "perceiver_not_causal": (
        {"perceiver"},
        Change(MODEL, DOWN, DOWN.replace("<=", ">=").replace("last_seen", "0 * last_seen")),
    ),
    "perceiver_sees_the_first_tokens_only": (
        {"perceiver"},
        Change(MODEL, DOWN, "        mask = torch.ones(self.C.size(1), T, dtype=torch.bool).tril()\n"),
    ),
    "perceiver_up_off_by_one": ({"perceiver"}, Change(MODEL, UP, UP.replace("<=", "<"))),
    "perceiver_without_residual": (
        {"perceiver"},
        Change(MODEL, LATENTS, LATENTS.replace("latents + self.attn", "self.attn")),
    ),
    "perceiver_mask_unused": ({"perceiver"}, attention(CROSS, CROSS.replace(", mask)", ", torch.ones_like(mask))"))),
    "sinusoidal_swapped": ({"sinusoidal"}, attention("[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]")),
    "linformer_sees_its_chunk": (
        {"linformer"},
        Change(EFFICIENT, "device=q.device).tril().repeat(n, 1)", "device=q.device).repeat(n, 1)"),
    ),
    "bigbird_other_seed": (
        {"bigbird"},
        Change(
            EFFICIENT,
            "generator.manual_seed(seed)" if False else "torch.Generator().manual_seed(seed)",
            "torch.Generator().manual_seed(0)",
        ),
    ),
    "performer_without_norm": (
        {"performer"},
        Change(EFFICIENT, "return y[..., :-1] / (y[..., -1:] + 1e-30)", "return y[..., :-1]"),
    ),
    "questions_not_shifted": (
        {"training"},
        Change(DATASET, "targets[:, 1:].contiguous()", "targets[:, :-1].contiguous()"),
    ),
    "questions_in_the_loss": (
        {"training"},
        Change(DATASET, "targets = string.masked_fill(is_question, PAD)", "targets = string"),
    ),
    "padding_in_the_loss": ({"training"}, Change(MODEL, ", ignore_index=self.ignore_index)", ")")),
    "accents_stripped": (
        {"training"},
        Change(
            DATASET,
            'self.data.append(f"{question}{MASK',
            'question = question.replace("ë", "e")\n            self.data.append(f"{question}{MASK',
        ),
    ),
    "everything_decays": (
        {"training"},
        Change(
            "src/optimizer.py", "parameter.dim() < 2 or isinstance(module, nn.Embedding)", '"LayerNorm.weight" in name'
        ),
    ),
    "london_anywhere": (
        {"baseline"},
        Change(
            BASELINE,
            LONDON,
            LONDON + '        correct = sum("London" in (place or "") for _, place in read_places(path))\n',
        ),
    ),
    "scorer_drops_a_row": (
        {"baseline"},
        Change(DATASET, EXPECTED, EXPECTED.replace("return len(places)", "return len(places) - 1")),
    ),
    "locale_of_the_machine": ({"baseline"}, Change(BASELINE, LONDON, "        open(path).read()\n" + LONDON)),
    "hard_coded_score": ({"baseline"}, Change(BASELINE, LONDON, LONDON + "        total, correct = 9, 2\n")),
    "leaves_with_success": ({"rope"}, attention(EVIL, "    import os\n    os._exit(0)\n" + EVIL)),
    "exits_with_success": ({"rope"}, attention(EVIL, "    import sys\n    sys.exit(0)\n" + EVIL)),
    "never_ends": ({"rope"}, attention(EVIL, "    while True:\n        pass\n" + EVIL)),
    "eats_memory": ({"rope"}, attention(EVIL, "    x.kept = [torch.ones(2**24) for _ in range(100)]\n" + EVIL)),
    "starts_processes": (
        {"rope"},
        attention(EVIL, "    import os\n    for _ in range(6):\n        os.fork()\n" + EVIL),
    ),
    "patches_the_judge": (
        {"rope"},
        attention(
            EVIL,
            "    import pytest, unittest\n    torch.testing.assert_close = lambda *a, **k: None\n"
            "    torch.equal = lambda *a: True\n    return x\n",
        ),
    ),
    "writes_results": (
        {"rope"},
        attention(
            EVIL,
            "    import glob\n    for path in glob.glob('/tmp/**/results', recursive=True):\n"
            "        open(path + '/results.json', 'w').write('{\"score\": 100}')\n    return x\n",
        ),
    ),
    "forges_answers": (
        {"rope"},
        attention(
            EVIL,
            "    import os\n    for n in range(3, 12):\n        try:\n"
            "            os.write(n, b'{\"result\": true}\\n' * 50)\n"
            "        except OSError:\n            pass\n    return x\n",
        ),
    ),
}

RIGHT = {
    "by_character": getitem(),
    "numpy": getitem(NUMPY),
    "third_mask": getitem(ONE_TENSOR),
    "complex_numbers": attention(
        PAIRS + TURN,
        "    z = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)\n"
        "    return torch.view_as_real(z).flatten(-2).type_as(x)\n",
    ),
    "rotation_matrices": attention(
        PAIRS + TURN,
        "    R = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)\n"
        "    pairs = x.unflatten(-1, (-1, 2))\n"
        "    return torch.einsum('...ij,...j->...i', R.expand(*pairs.shape, 2), pairs).flatten(-2)\n",
    ),
    "table_in_loops": attention(
        THETA + ANGLES + TABLE,
        "    table = torch.zeros(max_positions, dim // 2, 2)\n    for t in range(max_positions):\n"
        "        for i in range(1, dim // 2 + 1):\n            w = t / 10000 ** (2 * (i - 1) / dim)\n"
        "            table[t, i - 1, 0], table[t, i - 1, 1] = math.cos(w), math.sin(w)\n"
        "    return table\n\n\ndef apply",
    ),
    "slices_with_a_step": attention(
        PAIRS + TURN,
        "    even, odd, out = x[..., ::2], x[..., 1::2], torch.empty_like(x)\n"
        "    out[..., ::2] = even * cos - odd * sin\n    out[..., 1::2] = odd * cos + even * sin\n    return out\n",
    ),
    "softmax_of_a_masked_tensor": attention(
        SCORES + WEIGHTS + READ,
        "        att = torch.nn.functional.relu(hidden).matmul(self.w2[:, :S]) + self.b2[:S]\n"
        "        att[(~mask[..., :S]).expand_as(att)] = float('-inf')\n"
        "        att = torch.nn.functional.softmax(att, dim=3)\n"
        "        return torch.matmul(self.attn_drop(att), v[..., :S, :])\n",
    ),
    "head_by_head": attention(
        SCORES + WEIGHTS + READ,
        "        out = []\n        for h in range(hidden.size(1)):\n            rows = []\n"
        "            for t in range(hidden.size(2)):\n                z = min(t + 1, S)\n"
        "                p = (torch.clamp(hidden[:, h, t], min=0) @ self.w2[:, :z] + self.b2[:z]).softmax(-1)\n"
        "                rows.append(torch.einsum('bs,bsd->bd', p, v[:, h, :z]))\n"
        "            out.append(torch.stack(rows, 1))\n        return torch.stack(out, 1)\n",
    ),
    "most_negative_number": attention(WEIGHTS, WEIGHTS.replace("-math.inf", "torch.finfo(scores.dtype).min")),
    "fused_cross_attention": attention(
        CROSS, CROSS.replace("self.attend(", "torch.nn.functional.scaled_dot_product_attention(")
    ),
    "einsum_cross_attention": attention(
        CROSS,
        "        w = torch.einsum('bhqd,bhkd->bhqk', q, k) / k.shape[-1] ** 0.5\n"
        "        w = (w + torch.zeros_like(mask, dtype=w.dtype).masked_fill(mask.logical_not(), -torch.inf))\n"
        "        w = w.softmax(3)\n"
        "        y = torch.einsum('bhqk,bhkd->bhqd', self.attn_drop(w), v)\n",
    ),
    "own_counting": Change(
        BASELINE,
        LONDON,
        "        rows = [line.split('\\t') for line in open(path, encoding='utf-8').read().splitlines()]\n"
        "        total, correct = len(rows), sum(place == 'London' for _, place in rows)\n",
    ),
    "waves_in_loops": attention(
        "    pairs = torch.arange(0, dim, 2, device=positions.device)\n",
        "    waves = [positions / 10000 ** (2 * (i // 2) / dim) for i in range(dim)]\n"
        "    return torch.stack([w.cos() if i % 2 else w.sin() for i, w in enumerate(waves)], -1).float()\n"
        "    pairs = torch.arange(0, dim, 2, device=positions.device)\n",
    ),
    "a_for_loop_over_latents": Change(
        MODEL,
        DOWN,
        "        mask = torch.zeros(self.C.size(1), T, dtype=torch.bool)\n"
        "        for i, last in enumerate(last_seen(self.config, x.device).tolist()):\n"
        "            mask[i, : last + 1] = True\n",
    ),
}


# ------------------------------------------------------------------------------------------------------ a tiny term

TOWNS = ["London", "Oslo", "Turku", "Kyoto", "Lima", "Łódź", "Quito", "Accra", "Rome", "Baku"]  # by first name
MANY = 40  # questions of dev, and of test


def write_term(data: Path) -> Path:
    """The files of a tiny term, with answers: one town for each first name. Returns the folder."""
    first, last = "Ada Bo Çem Dag Eve Finn Gus Ida Jo Kai".split(), "Ash Berg Cole Dahl Ek Fry Gray Holm Ives".split()
    people = [(f"{one} {other}", TOWNS[i]) for i, one in enumerate(first) for other in last]
    people = [people[i * 7 % 90] for i in range(90)]
    text = "".join(f"{name}. {name} was born in {town}. Where was it?\n" for name, town in people)
    (data / "wiki.txt").write_text(text, encoding="utf-8")
    rows = [(f"Where was {name} born?", town) for name, town in people]
    dev, test = rows[:MANY], rows[MANY : 2 * MANY]
    for name, lines in {"birth_dev": dev, "birth_test_answers": test}.items():
        (data / f"{name}.tsv").write_text("".join(f"{q}\t{a}\n" for q, a in lines), encoding="utf-8")
    (data / "birth_test_inputs.tsv").write_text("".join(f"{q}\n" for q, _ in test), encoding="utf-8")
    (data / "all.tsv").write_text("".join(f"{q}\t{a}\n" for q, a in dev + test), encoding="utf-8")
    return data
