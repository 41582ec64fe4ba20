"""The benchmark: it lists what is registered, and counts memory as arithmetic says. Times are not tested."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

import attention
import attention_cost
from attention_cost import WRITTEN_OUT, build, cheaper_from, peak_memory

INF = float("inf")


def test_attention_run_as_a_program_lists_every_variant_at_every_length(monkeypatch, capsys):
    """As a program attention.py is another module than the one in which the efficient variants are registered."""
    sizes = "--device cpu --lengths 32 16 --tokens 64 --n_embd 16 --n_head 2 --repeats 1".split()
    monkeypatch.setattr(sys, "argv", ["attention.py", *sizes])
    runpy.run_path(str(Path(attention.__file__)), run_name="__main__")
    time, memory, verdict, footnotes = capsys.readouterr().out.split("\n\n")[1:5]
    for table in (time, memory):
        head, _, *rows = [line.split(" | ") for line in table.strip("|\n").split(" |\n| ")]
        assert head[1:] == ["16", "32"]
        assert [row[0].strip("| ") for row in rows] == ["vanilla", WRITTEN_OUT, *list(attention.VARIANTS)[1:]]
        assert all(float(cell.replace(",", "")) >= 0 for row in rows for cell in row[1:])
    assert all(f"| {name} |" in verdict for name in list(attention.VARIANTS)[1:])
    assert "`bigbird` sparse_block 16" in footnotes


def test_peak_memory_counts_what_is_alive_at_once():
    before = [torch.zeros(1000, 1000)]

    def step() -> tuple[torch.Tensor, ...]:
        before.clear()  # not a credit for what follows
        first = torch.zeros(1000, 1000)
        del first  # gone before the next two, which are alive together
        return torch.zeros(500, 1000), torch.zeros(600, 1000)

    assert peak_memory(step, "cpu") == 4 * 1_100_000
    assert peak_memory(lambda: None, "cpu") == 0


@pytest.mark.parametrize("name, least, most", [(WRITTEN_OUT, 3.5, 4.5), ("vanilla", 1, 2.2), ("bigbird", 1, 2.2)])
def test_memory_of_one_sequence_grows_with_its_length_or_with_the_square(name, least, most):
    def peak(T: int) -> int:
        module, x = build(name, T, n_embd=16, n_head=2), torch.randn(1, T, 16, requires_grad=True)
        return peak_memory(lambda: module(x).sum().backward(), "cpu")

    assert least < peak(2048) / peak(1024) < most


@pytest.mark.parametrize(
    "costs, expected",
    [
        ([9, 9, 9], "16"),
        ([11, 9, 8], "32"),
        ([9, 11, 8], "64"),  # the first was not for good
        ([9.6, 9.6, 9.6], "never in this range"),  # less than 5% is not less
        ([INF, INF, 9], "64"),
    ],
)
def test_cheaper_means_from_there_on(costs, expected):
    assert cheaper_from(costs, [10, 10, 10], [16, 32, 64]) == expected


def test_a_length_for_which_the_memory_does_not_suffice_is_a_dash(monkeypatch, capsys):
    def greedy(*args):
        torch.empty(2**60)

    monkeypatch.setattr(attention_cost, "build", greedy)
    attention_cost.main("--device cpu --lengths 16".split())
    assert "| vanilla | - |" in capsys.readouterr().out


def test_sizes_that_cannot_be_built_are_refused(capsys):
    with pytest.raises(SystemExit):
        attention_cost.main("--device cpu --n_embd 10 --n_head 3".split())
    assert "n_embd 10 is not a multiple of n_head 3" in capsys.readouterr().err
