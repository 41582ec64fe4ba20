"""Hidden tests of what is given in this project's tree and written in others: what part d trains on, and how."""

import torch
from calling import ours

from dataset import CharCorruptionDataset, NameDataset
from model import GPT, GPTConfig
from optimizer import parameter_groups
from vocabulary import PAD

SIZES = dict(vocab_size=19, block_size=20, n_layer=2, n_head=2, n_embd=8, variant="vanilla")
NO_DROPOUT = dict(embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
TEXT = "Zoë Ñandú. Born in Łódź.\nBo Lind. Born in Turku, Bo was a painter.\nWhere was it? Nobody knows.\n"
DATA = "Where was Zoë Ñandú born?\tŁódź\nWhere was Bo Lind born?\tTurku\n"


def small_model() -> GPT:
    model = GPT(GPTConfig(**SIZES, **NO_DROPOUT, ignore_index=PAD)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def test_questions_become_the_same_examples_also_with_accents(student):
    x, y = student.ask("questions", text=TEXT, data=DATA, block_size=48)
    with ours():
        names = NameDataset(CharCorruptionDataset(TEXT, 48), DATA)
    length = x.shape[1]
    assert length in (47, 48)
    for i in range(2):
        torch.testing.assert_close(x[i], names[i][0][:length])
        torch.testing.assert_close(y[i], names[i][1][:length])


def test_the_loss_is_the_mean_over_targets_that_are_not_padding(student):
    model, idx = small_model(), torch.randint(2, 19, (3, 17))
    targets = torch.where(torch.rand(3, 17) < 0.6, PAD, idx)
    want, loss = model(idx, targets)
    fields = SIZES | NO_DROPOUT | {"ignore_index": PAD}
    got = student.ask("logits", fields=fields, state=model.state_dict(), idx=idx, targets=targets)
    torch.testing.assert_close(got[0], want, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(got[1], loss, atol=1e-3, rtol=1e-3)


def test_gains_biases_and_embeddings_do_not_decay(student):
    model = small_model()
    fields = SIZES | NO_DROPOUT
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    want = {names[id(parameter)] for parameter in parameter_groups(model, 0.1)[0]["params"]}
    assert set(student.ask("decayed", fields=fields, state=model.state_dict())) == want
