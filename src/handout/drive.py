"""Run the commands of the course on a student's own modules.

    python src/handout/drive.py pretrain vanilla wiki.txt --modules DIR --writing_params_path P
    python src/run.py pretrain vanilla wiki.txt --modules DIR ...              # the same

DIR may hold dataset.py, attention.py, and model.py or models.py, with the names of the handouts. What it does not hold
is ours. Parameters are written without a record, as students' code does.
"""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Theirs:
    """The modules of a folder, with ours for those that it does not have."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder}: no such folder")
        self.folder = folder.resolve()
        sys.path[:] = [str(self.folder), str(HERE), str(HERE.parent), *sys.path]
        for name in ("attention", "dataset", "model", "models", "trainer", "utils"):
            sys.modules.pop(name, None)
        self.dataset = importlib.import_module("dataset")
        self.attention = importlib.import_module("attention")
        self.models = importlib.import_module("model" if self.has("model") else "models")
        self.trainer = importlib.import_module("trainer")
        self.utils = importlib.import_module("utils")

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.py").is_file()

    def model(self, corpus: Any, variant: str, sizes: dict[str, int], bottleneck_dim: int) -> Any:
        """GPT(config) with the flag of the variant set. Our model takes their attention, if they have one."""
        config = self.models.GPTConfig(corpus.vocab_size, corpus.block_size, **sizes)
        if variant == "synthesizer":
            config.synthesizer = config.additive = True
        elif variant != "vanilla":
            setattr(config, variant, True)
        config.bottleneck_dim = bottleneck_dim
        model = self.models.GPT(config)
        if self.has("attention") and not self.has("model") and not self.has("models"):
            self.give_attention(model, config, variant)
        return model

    def give_attention(self, model: Any, config: Any, variant: str) -> None:
        model.takes_layouts = False
        own: Any = self.attention.CausalSelfAttention
        if variant == "synthesizer":
            own = getattr(self.attention, "SynthesizerAttention", None) or self.attention.AdditiveSelfAttention
        for block in model.blocks:
            block.attn = without_layout(own)(config)
        if variant == "perceiver":
            for block in (model.down_block, model.up_block):
                block.attn = without_layout(self.attention.CausalCrossAttention, inputs=2)(config)
        for name, parameter in model.named_parameters():
            if ".attn." in name and name.endswith(".weight"):
                parameter.data.normal_(mean=0.0, std=0.02)  # as GPT does with its own


def without_layout(cls: type, inputs: int = 1) -> type:
    """Their attention class for our blocks, which hand over a layout (and a mask) besides the tensors."""

    class Attention(cls):
        def forward(self, *arguments: Any, **layouts: Any) -> Any:
            return super().forward(*arguments[:inputs])

    return Attention


def train(theirs: Theirs, args: argparse.Namespace, corpus: Any, model: Any) -> None:
    """The hyperparameters of the handout, with the recipe `course`."""
    import torch
    from core import files

    from recipes import RECIPES

    recipe, rows = RECIPES["course"], corpus
    stage = recipe.pretrain
    files.check_writable(args.writing_params_path, args.pretrain_corpus_path, args.finetune_corpus_path)
    if args.function == "finetune":
        stage = recipe.scratch if args.reading_params_path is None else recipe.finetune
        rows = theirs.dataset.NameDataset(corpus, read(args.finetune_corpus_path))
    if args.reading_params_path is not None:
        load(model, args.reading_params_path)
    torch.manual_seed(args.seed)
    config = theirs.trainer.TrainerConfig(
        max_epochs=args.max_epochs or stage.max_epochs,
        batch_size=args.batch_size or stage.batch_size,
        learning_rate=stage.learning_rate,
        lr_decay=True,
        warmup_tokens=stage.warmup_tokens,
        final_tokens=(stage.schedule_epochs or stage.max_epochs) * len(corpus) * corpus.block_size,
        num_workers=0,
    )
    theirs.trainer.Trainer(model, rows, None, config).train()
    files.write_tensors(args.writing_params_path, {name: value.cpu() for name, value in model.state_dict().items()})
    print(f"{args.function}: {args.writing_params_path} written, with the modules of {theirs.folder}")


def evaluate(theirs: Theirs, args: argparse.Namespace, corpus: Any, model: Any) -> None:
    import torch
    from core import dataset

    load(model, args.reading_params_path)
    model.eval()
    answers = []
    questions = dataset.read_places(dataset.find_file(args.eval_corpus_path))
    for question, _ in questions:
        x = torch.tensor([[corpus.stoi[char] for char in question + "\u2047"]])
        said = "".join([corpus.itos[int(i)] for i in theirs.utils.sample(model, x, 32, sample=False)[0]])
        answers.append(said.split("\u2047")[1].replace("\n", " "))
    with open(args.outputs_path, "w", encoding="utf-8", newline="\n") as file:
        file.write("".join([f"{answer}\n" for answer in answers]))
    total, correct = dataset.evaluate_places(dataset.find_file(args.eval_corpus_path), answers)
    print(f"Correct: {correct} out of {total}: {correct / total:.1%}" if total else "no targets provided")


def read(path: str) -> str:
    from core import dataset

    return dataset.read_text(dataset.find_file(path))


def load(model: Any, path: str) -> None:
    from core import files

    model.load_state_dict(files.read_parameters(path)[0])


def main(argv: list[str] | None = None) -> None:
    sys.path.append(str(HERE.parent))  # `python src/handout/drive.py` knows only its own folder
    from recipes import RECIPES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", choices=("pretrain", "finetune", "evaluate"))
    parser.add_argument("variant", choices=("vanilla", "synthesizer", "perceiver", "rope"))
    parser.add_argument("pretrain_corpus_path")
    parser.add_argument("--modules", type=Path, required=True, metavar="DIR")
    for name in ("reading_params_path", "writing_params_path", "finetune_corpus_path", "eval_corpus_path"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--outputs_path")
    for name, default in (RECIPES["course"].model | {"bottleneck_dim": 32, "seed": 0}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("max_epochs", "batch_size"):
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args(argv)
    needed = {
        "pretrain": ["writing_params_path"],
        "finetune": ["writing_params_path", "finetune_corpus_path"],
        "evaluate": ["reading_params_path", "eval_corpus_path", "outputs_path"],
    }[args.function]
    if missing := [f"--{name}" for name in needed if getattr(args, name) is None]:
        parser.error(f"{args.function} needs {', '.join(missing)}")
    try:
        theirs = Theirs(args.modules)
        corpus = theirs.dataset.CharCorruptionDataset(read(args.pretrain_corpus_path), args.block_size)
        sizes = {name: getattr(args, name) for name in ("n_layer", "n_head", "n_embd")}
        model = theirs.model(corpus, args.variant, sizes, args.bottleneck_dim)
        (evaluate if args.function == "evaluate" else train)(theirs, args, corpus, model)
    except (OSError, ValueError) as error:
        sys.exit(print(f"drive.py: {error}", file=sys.stderr) or 2)


if __name__ == "__main__":
    main()
