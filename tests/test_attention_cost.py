"""The cost of attention: the program lists every variant, and memory is what arithmetic says. Times are not tested."""

import pytest
import torch

import attention
import attention_cost
from attention_cost import WRITTEN_OUT, build, cheaper_from, peak_memory, rows_for
from starting import python

INF = float("inf")


def test_the_program_lists_every_variant_at_every_length(tmp_path):
    """It runs in a process of its own, so that it has to find src and the registered variants by itself."""
    sizes = "--device cpu --lengths 32 16 --tokens 64 --n_embd 16 --n_head 2 --repeats 1".split()
    done = python(attention_cost.__file__, *sizes, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    time, memory, verdict, footnotes = done.stdout.split("\n\n")[1:5]
    for table in (time, memory):
        head, _, *rows = [line.split(" | ") for line in table.strip("|\n").split(" |\n| ")]
        assert head[1:] == ["16", "32"]
        assert [row[0].strip("| ") for row in rows] == ["vanilla", WRITTEN_OUT, *list(attention.VARIANTS)[1:]]
        assert all(float(cell.replace(",", "")) >= 0 for row in rows for cell in row[1:])
    assert all(f"| {name} |" in verdict for name in list(attention.VARIANTS)[1:])
    assert "`bigbird` sparse_block 16" in footnotes


@pytest.mark.parametrize("name", attention.VARIANTS)
def test_the_fused_layout_computes_what_the_plain_one_does(name):
    torch.manual_seed(0)
    module, x = build(name, 48, n_embd=16, n_head=2), torch.randn(2, 48, 16)
    torch.testing.assert_close(module(x, rows_for(name)), module(x), atol=1e-5, rtol=1e-4)


def test_peak_memory_is_the_most_that_is_alive_at_once():
    before = [torch.zeros(1000, 1000)]

    def step() -> tuple[torch.Tensor, ...]:
        before.clear()  # gives no credit for what follows
        first = torch.zeros(1000, 1000)
        del first  # gone before the next two, which are alive together
        return torch.zeros(500, 1000), torch.zeros(600, 1000)

    assert peak_memory(step, "cpu") == 4 * 1_100_000
    assert peak_memory(lambda: None, "cpu") == 0


@pytest.mark.parametrize("name, least, most", [(WRITTEN_OUT, 3.5, 4.5), ("vanilla", 1, 2.2), ("bigbird", 1, 2.2)])
def test_memory_grows_with_the_square_of_the_length_only_if_attention_is_written_out(name, least, most):
    def peak(T: int) -> int:
        module, x = build(name, T, n_embd=16, n_head=2), torch.randn(1, T, 16, requires_grad=True)
        return peak_memory(lambda: module(x, rows_for(name)).sum().backward(), "cpu")

    assert least < peak(2048) / peak(1024) < most


@pytest.mark.parametrize(
    "costs, expected",
    [
        ([9, 9, 9], "16"),
        ([11, 9, 8], "32"),
        ([9, 11, 8], "64"),  # the first does not last
        ([9.6, 9.6, 9.6], "never in this range"),  # cheaper by less than 5% does not count
        ([INF, INF, 9], "64"),
    ],
)
def test_a_mechanism_is_cheaper_from_the_length_after_which_it_stays_cheaper(costs, expected):
    assert cheaper_from(costs, [10, 10, 10], [16, 32, 64]) == expected


def test_a_length_that_does_not_fit_into_memory_is_a_dash(monkeypatch, capsys):
    def greedy(*args):
        torch.empty(2**60)

    monkeypatch.setattr(attention_cost, "build", greedy)
    attention_cost.main("--device cpu --lengths 16".split())
    assert "| vanilla | - |" in capsys.readouterr().out


def test_sizes_from_which_no_model_can_be_built_are_refused(capsys):
    with pytest.raises(SystemExit):
        attention_cost.main("--device cpu --n_embd 10 --n_head 3".split())
    assert "n_embd 10 is not a multiple of n_head 3" in capsys.readouterr().err
