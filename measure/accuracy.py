"""Accuracy over several seeds: mean and range of what the commands of run.py reach on dev or on held-out train rows.

    python measure/accuracy.py --recipe course --seeds 0 1 2                      # trained on data/, evaluated on dev
    python measure/accuracy.py --recipe quick --data data/quick --holdout 30      # to choose settings without using dev
    python measure/accuracy.py --set pretrain.learning_rate=3e-3 --set question_share=0.25
    python measure/accuracy.py --variants perceiver --option bottleneck_dim=64

A run is one variant with one seed: finetune from scratch, pretrain, finetune, evaluate both. `--jobs` runs are made at
a time, each in its own process. Several share one GPU well; `--device cuda:0 cuda:1` uses two. Prints one line per run
and a summary per variant, and appends the runs to OUT/accuracy.jsonl. Files of other settings have other names; the
same settings replace them.
"""

import argparse
import itertools
import json
import statistics
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

import torch

import dataset
from attention import VARIANTS
from grid import silent
from model import GPTConfig
from recipes import RECIPES, Recipe, Stage
from stages import evaluate, finetune, pretrain


def changed(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe after setting `field=value`, `stage.field=value` or `model.field=value`. Values are JSON.

    Raises ValueError for a field that is not there, and for a value of another type.
    """
    for setting in settings:
        name, _, text = setting.partition("=")
        place, _, key = name.rpartition(".")
        owner: Any = getattr(recipe, place, None) if place else recipe
        fields = owner if isinstance(owner, dict) else vars(owner) if isinstance(owner, Stage | Recipe) else {}
        if key not in fields:
            raise ValueError(f"{setting}: no field {name}" + f", only {', '.join(fields)}" * bool(fields))
        try:
            value, old = json.loads(text), fields[key]
        except ValueError:
            raise ValueError(f"{setting}: not a value of JSON, where a word has quotes") from None
        if old is not None and type(value) is not type(old) and (type(value), type(old)) != (int, float):
            raise ValueError(f"{setting}: the recipe has {json.dumps(old, default=str)} there")
        new: Any = owner | {key: value} if isinstance(owner, dict) else replace(owner, **{key: value})
        recipe = replace(recipe, **{place: new}) if place else new
    return recipe


def options_of(variant: str, settings: list[str]) -> dict[str, Any]:
    """The options `name=value` of a variant, as the types of their defaults. Raises ValueError for an unknown name."""
    known, options = VARIANTS[variant].options, {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known:
            raise ValueError(f"the variant {variant} has no option {name}: choose from {', '.join(known) or 'none'}")
        options[name] = type(known[name].default)(value)
    return options


def one_run(args: argparse.Namespace, variant: str, seed: int, device: str | None) -> dict:
    """All four stages of one variant and seed. Returns the accuracies, losses and times as a dict."""
    silent()
    torch.set_num_threads(args.threads)
    RECIPES[args.recipe] = changed(RECIPES[args.recipe], args.set)
    mixed = args.recipe_mixes and RECIPES[args.recipe].question_share > 0
    corpus, train, test = args.data / "wiki.txt", args.data / "birth_places_train.tsv", args.data / "birth_dev.tsv"
    how = [args.recipe, args.set, args.option, args.recipe_mixes, args.holdout, args.fold, str(args.data)]
    path = args.out / f"{variant}.{seed}.{zlib.crc32(json.dumps(how).encode()):08x}"
    if args.holdout:
        rows = [f"{row}\n" for row in dataset.read_text(train).split("\n") if row.strip()]
        train, test = Path(f"{path}.train.tsv"), Path(f"{path}.held-out.tsv")
        end = len(rows) - args.fold * args.holdout
        begin = end - args.holdout
        if begin < 0:
            raise ValueError(f"{len(rows)} train rows are too few for fold {args.fold} of {args.holdout} rows")
        train.write_text("".join(rows[:begin] + rows[end:]), encoding="utf-8")
        test.write_text("".join(rows[begin:end]), encoding="utf-8")
    common = {"seed": seed, "recipe": args.recipe, "device": device, "overwrite": True}
    options = options_of(variant, args.option)
    result = {"variant": variant, "seed": seed, "recipe": args.recipe, "set": args.set, **options}
    result |= {"fold": args.fold} if args.holdout else {}

    def accuracy(params: str) -> float:
        found = evaluate(variant, corpus, params, test, f"{params}.predictions", device=device)
        return 100 * found["correct"] / found["total"]

    if not args.skip_scratch:
        finetune(variant, corpus, f"{path}.scratch.params", train, **common, **options)
        result["scratch"] = accuracy(f"{path}.scratch.params")
    asked = {"finetune_corpus_path": train if mixed else None, "eval_corpus_path": test}
    pretrained = pretrain(variant, corpus, f"{path}.pretrain.params", **asked, **common, **options)
    if mixed:
        result["mixed"] = accuracy(f"{path}.pretrain.params")
    finetuned = finetune(
        variant, corpus, f"{path}.finetune.params", train, reading_params_path=f"{path}.pretrain.params", **common
    )
    result["pretrained"] = accuracy(f"{path}.finetune.params")
    result |= {"pretrain_loss": pretrained["final_loss"], "finetune_loss": finetuned["final_loss"]}
    result |= {"pretrain_seconds": pretrained["seconds"], "finetune_seconds": finetuned["seconds"]}
    return result | {"device": pretrained["device"], "steps": pretrained["steps"], **pretrained["versions"]}


def show(result: dict) -> str:
    return "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in result.items() if v != [])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=dataset.DATA_FOLDER, help="folder of the four files")
    parser.add_argument("--out", type=Path, default=Path("accuracy"), help="folder for the files that the runs write")
    parser.add_argument("--variants", nargs="+", default=["vanilla"], choices=list(VARIANTS))
    parser.add_argument("--recipe", default="course", choices=list(RECIPES), help="default: course")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the recipe")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the variants")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--holdout", type=int, default=0, help="evaluate on this many train rows, left out of training")
    parser.add_argument("--fold", type=int, default=0, help="which rows to hold out: 0 the last, 1 those before, ...")
    parser.add_argument("--text-only", dest="recipe_mixes", action="store_false", help="pretrain without questions")
    parser.add_argument("--skip-scratch", action="store_true", help="skip finetuning without pretraining")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")
    parser.add_argument("--device", nargs="+", default=[None], help="one device, or several that the runs take in turn")
    args = parser.parse_args()
    for name in ("wiki.txt", "birth_places_train.tsv", "birth_dev.tsv"):
        if not (args.data / name).is_file():
            parser.error(f"--data {args.data}: there is no {name}")
    if args.holdout < 0 or args.fold < 0 or args.jobs < 1 or args.threads < 1:
        parser.error("--holdout and --fold must be at least 0, --jobs and --threads at least 1")
    try:
        recipe = changed(RECIPES[args.recipe], args.set)
        for variant in args.variants:
            GPTConfig(vocab_size=1, variant=variant, options=options_of(variant, args.option), **recipe.model)
    except (TypeError, ValueError) as error:
        parser.error(f"--set and --option: {error}")
    args.out.mkdir(parents=True, exist_ok=True)
    results, failed = [], 0
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = [(variant, seed) for variant in args.variants for seed in args.seeds]
        devices = itertools.cycle(args.device)
        futures = [pool.submit(one_run, args, *run, device) for run, device in zip(runs, devices, strict=False)]
        for future in as_completed(futures):
            try:
                results.append(future.result())
            except Exception as error:  # of many kinds: the other runs go on
                failed += 1
                print(f"accuracy.py: a run failed: {str(error) or repr(error)}", file=sys.stderr, flush=True)
                continue
            print(show(results[-1]), flush=True)
            with open(args.out / "accuracy.jsonl", "a", encoding="utf-8") as file:
                print(json.dumps(results[-1]), file=file)
    for variant in args.variants:
        mine = [result for result in results if result["variant"] == variant]
        for key in ("scratch", "mixed", "pretrained"):
            values = [result[key] for result in mine if key in result]
            if values:
                spread = f"{min(values):.1f} to {max(values):.1f}"
                print(f"{variant:12} {key:10} mean {statistics.mean(values):.1f} ({spread}, {len(values)} seeds)")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
