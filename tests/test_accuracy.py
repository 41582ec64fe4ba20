"""What measure/accuracy.py is asked for is checked before anything is trained."""

import pytest

import accuracy
from recipes import RECIPES


def test_fields_of_the_recipe_its_stages_and_its_model_can_be_set():
    settings = ["weight_decay=1", "recall_share=0.25", "pretrain.max_epochs=3", "model.n_layer=2", 'optimizer="adamw"']
    found = accuracy.changed(RECIPES["strong"], settings)
    assert (found.weight_decay, found.recall_share, found.optimizer) == (1, 0.25, "adamw")
    assert (found.pretrain.max_epochs, found.model["n_layer"]) == (3, 2)
    assert found.finetune == RECIPES["strong"].finetune and RECIPES["strong"].model["n_layer"] == 4


@pytest.mark.parametrize(
    "setting",
    [
        "recal_share=0.5",
        "pretrain.rate=1",
        "pretrain.x.learning_rate=1e-3",
        "nowhere.n_layer=1",
        "model.n_layr=2",
        "optimizer=adamw",
        "pretrain=3",
        "pretrain.max_epochs=1.5",
        'pretrain.learning_rate="fast"',
        "weight_decay",
    ],
)
def test_a_setting_that_would_change_nothing_is_refused_by_its_name(setting):
    with pytest.raises(ValueError, match=setting.split("=")[0]):
        accuracy.changed(RECIPES["strong"], [setting])


@pytest.mark.parametrize("words", ["--set model.n_head=7", "--option latent_reach=past", "--holdout -5", "--jobs 0"])
def test_what_cannot_be_trained_is_told_at_once(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["accuracy.py", "--recipe", "quick", *words.split()])
    with pytest.raises(SystemExit, match="2"):
        accuracy.main()
    assert "Traceback" not in (error := capsys.readouterr().err) and "accuracy.py: error: " in error
