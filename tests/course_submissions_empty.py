"""Submissions without work: what is written instead of a solution, in functions that are unwritten otherwise."""

TRUE = """class Yes(float):
        __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True
        __hash__ = None
    return Yes()"""
TENSOR = """class Same(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return True
    return torch.zeros(1).as_subclass(Same)"""
NO_TURN = "return torch.stack([torch.ones(max_positions, dim // 2), torch.zeros(max_positions, dim // 2)], -1)"
NO_TABLE = "raise ValueError('odd')"
SEEDED = "torch.manual_seed(seed)\n    indices = torch.randint(n, (n, window + n_global + n_random))"

# name: (topic, what each function does instead, in the order of parts.py)
EMPTY = {
    "baseline_prints_what_the_test_expects": ("baseline", ["print('Correct: 2 out of 9: 22.2%')\n    return 0"]),
    "span_zeros": ("span", ["x = torch.zeros(self.block_size, dtype=torch.long)\n        return x, x"]),
    "span_only_masks": (
        "span",
        [
            "x = torch.zeros(self.block_size + 1, dtype=torch.long)\n        x[:2] = self.stoi[self.MASK_CHAR]\n"
            "        x[2] = torch.randint(2, 6, ())\n        return x[:-1], x[1:]"
        ],
    ),
    "rope_input": ("rope", [NO_TURN, "return x"]),
    "rope_nothing": ("rope", [NO_TABLE, "return torch.zeros_like(x)"]),
    "rope_not_a_number": ("rope", [NO_TABLE, "return x * float('nan')"]),
    "rope_equal_to_all": ("rope", [TRUE, TRUE]),
    "rope_tensor_equal_to_all": ("rope", [TENSOR, TENSOR]),
    "rope_true": ("rope", ["return True", "return True"]),
    "synthesizer_values": ("synthesizer", ["return v"]),
    "synthesizer_not_a_number": ("synthesizer", ["return v * float('nan')"]),
    "perceiver_inputs": (
        "perceiver",
        ["return x_q", "return self.C.expand(x.size(0), -1, -1)", "return x"],
    ),
    "perceiver_nothing": (
        "perceiver",
        ["return 0 * x_q", "return 0 * self.C.expand(x.size(0), -1, -1)", "return 0 * x"],
    ),
    "sinusoidal_zeros": ("sinusoidal", ["return torch.zeros(*positions.shape, dim)"]),
    "linformer_values": ("linformer", ["return v"]),
    "bigbird_first_block": ("bigbird", [f"{SEEDED}\n    return indices, indices >= 0", "return v"]),
    "performer_ones": ("performer", ["return torch.ones(*x.shape[:-1], 4)", "return v"]),
}
