"""What every command starts with: from arguments and files to a device, a corpus and a model.

Whatever is wrong with them is a ValueError or OSError, raised here and not after an hour.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import dataset as data
from attention import VARIANTS, Option
from checkpoint import check_writable, read_parameters
from model import GPT, GPTConfig, check_sizes
from recipes import RECIPES, Recipe, find_recipe

if TYPE_CHECKING:
    from parallel import Processes

SIZES = {
    "n_layer": "blocks",
    "n_head": "attention heads of a block",
    "n_embd": "channels of the residual stream",
    "block_size": "tokens of the longest sequence",
}


@contextmanager
def opened(
    variant: str,
    pretrain_corpus_path: str | Path,
    reading_params_path: str | Path,
    recipe: str | None = None,
    device: str | None = None,
    **settings: Any,
) -> Iterator[tuple[GPT, data.CharCorruptionDataset]]:
    """A trained model, on its device while this lasts, and the corpus that gives its vocabulary."""
    state_dict, record = read_trained(reading_params_path)
    chosen = find_recipe(recipe or (record or {}).get("recipe") or "course")
    with placed(device) as where:
        model, corpus = build(variant, pretrain_corpus_path, reading_params_path, state_dict, record, chosen, settings)
        yield model.to(where), corpus


def variant_options() -> dict[str, Option]:
    """The options of all variants by name."""
    return {name: option for variant in VARIANTS.values() for name, option in variant.options.items()}


def processes_of_torchrun(shard: bool = False) -> "Processes | None":
    """The processes of this run if torchrun started several."""
    if "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from parallel import Processes  # only here, as no other run needs it

        return Processes.of_torchrun(shard)
    if shard:
        raise ValueError("--shard divides a model among processes: start several with torchrun --nproc_per_node")
    return None


def refuse_several_processes(command: str) -> None:
    if processes_of_torchrun() is not None:
        raise ValueError(f"{command} runs in one process: start it with python, not with torchrun")


def seed_everything(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ValueError(f"the seed is {seed}: it must be at least 0 and below 2**63")
    torch.manual_seed(seed)


def refuse_overwriting(outputs: Iterable[str], *inputs: str | Path | None) -> None:
    """ValueError if one of the files to write is one of those to read or the record (`.json`) beside one."""
    read = [Path(f"{data.find_file(path)}{ending}") for path in inputs if path is not None for ending in ("", ".json")]
    for output in map(Path, outputs):
        # samefile knows disks on which case makes no difference, and a second name of one file.
        if any(output.resolve() == path.resolve() or _are_one_file(output, path) for path in read):
            raise ValueError(f"{output}: cannot be written: it is one of the files to read")


def _are_one_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def check_outputs(writing_params_path: str | Path, *inputs: str | Path | None) -> None:
    """Refuse now what could not be written, or should not be, after training. Only the first process writes."""
    if (processes := processes_of_torchrun()) is not None and not processes.is_first:
        return
    endings = ("", ".json", ".log.jsonl", ".resume", ".resume.log.jsonl")
    outputs = [f"{writing_params_path}{ending}" for ending in endings]
    refuse_overwriting(outputs, *inputs)
    for output in outputs:
        check_writable(output)


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """What the caller chose of a GPTConfig: sizes by name, and the variant's `options` if there are any."""
    known = variant_options()
    if unknown := set(settings) - set(SIZES) - set(known):
        raise TypeError(f"unexpected argument {', '.join(sorted(unknown))}")
    chosen = {name: value for name, value in settings.items() if value is not None}
    options = {name: chosen.pop(name) for name in known if name in chosen}
    return chosen | ({"options": options} if options else {})


def open_corpus(path: str | Path, block_size: int | None, recipe: Recipe) -> data.CharCorruptionDataset:
    path = data.find_file(path)
    block_size = recipe.model["block_size"] if block_size is None else block_size
    longest = int(block_size * recipe.max_kept_share)
    shortest = max(data.MIN_TRUNCATED_LENGTH, int(longest * recipe.min_kept_share))
    return data.CharCorruptionDataset(
        data.read_corpus(path),
        block_size,
        min_length=shortest,
        max_length=longest,
        recall_share=recipe.recall_share,
        source=path,
    )


def open_questions(path: str | Path, corpus: data.CharCorruptionDataset) -> data.NameDataset:
    path = data.find_file(path)
    return data.NameDataset(corpus, data.read_text(path), source=path)


def model_config(variant: str, corpus: data.CharCorruptionDataset, recipe: Recipe, settings: dict) -> GPTConfig:
    return GPTConfig(vocab_size=corpus.vocab_size, variant=variant, **recipe.model | given(settings))


def vocabulary_of(corpus: data.CharCorruptionDataset) -> str:
    return "".join(corpus.itos[i] for i in range(corpus.vocab_size))


@contextmanager
def repeatable() -> Iterator[None]:
    """While this lasts, what a GPU computes is the same bit for bit every time; RuntimeError where that is impossible.

    cuBLAS and the compiler read their settings once, when they are first used: before that, for the first time.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")  # no choice of kernels by who was faster today
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a kernel for every tensor, which nobody reads here
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = filled


@contextmanager
def placed(
    device: str | None, dtype: str = "tf32", processes: "Processes | None" = None, deterministic: bool = False
) -> Iterator[torch.device]:
    """The device to run on, with float32 matrix products in TF32 where it has them unless `dtype` is float32."""
    if processes is not None:
        device = processes.device(device)
    elif device is None:
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.split(":")[0] not in ("cuda", "mps", "cpu"):
        raise ValueError(f"--device {device}: choose cuda, mps or cpu")
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {device}: cannot be used: {str(error).splitlines()[0]}") from None
    before, cudnn = torch.get_float32_matmul_precision(), torch.backends.cuda.cudnn_sdp_enabled()
    torch.set_float32_matmul_precision("high" if where.type == "cuda" and dtype != "float32" else "highest")
    torch.backends.cuda.enable_cudnn_sdp(False)  # at this size slower than the other fused kernels, and slow to start
    try:
        chosen = torch.cuda.device(where) if where.type == "cuda" and where.index else nullcontext()  # for its graphs
        joined = nullcontext() if processes is None else processes.joined(where)
        with repeatable() if deterministic else nullcontext(), chosen, joined:
            yield where
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.enable_cudnn_sdp(cudnn)


def has_bf16(where: torch.device) -> bool:
    """Does it multiply matrices in bf16? CPUs and NVIDIA's GPUs before Ampere can, but slower than in float32."""
    return where.type == "cuda" and torch.cuda.get_device_capability(where) >= (8, 0)


def read_trained(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    state_dict, record = read_parameters(path)
    kinds = {"variant": str, "config": dict, "vocabulary": str}
    if record is not None and not isinstance(record, dict):
        raise ValueError(f"{path}.json: not a record of parameters")
    for name, kind in kinds.items():
        if record is not None and not isinstance(record.get(name), kind):
            raise ValueError(f"{path}.json: not a record of parameters: {name} is missing or of the wrong kind")
    if record is not None and record.get("recipe", "course") not in list(RECIPES):
        raise ValueError(f"{path}.json: names the recipe {record['recipe']!r}, which this code does not have")
    return state_dict, record


def build(
    variant: str,
    corpus_path: str | Path,
    params_path: str | Path | None,
    state_dict: dict[str, torch.Tensor] | None,
    record: dict[str, Any] | None,
    recipe: Recipe,
    settings: dict[str, Any],
) -> tuple[GPT, data.CharCorruptionDataset]:
    """A model, with the parameters of `state_dict` if there are any, and the corpus that gives its vocabulary.

    The record beside a parameter file says what the model is, and what the caller says must agree with it. A file
    without a record, made by somebody's course code, has the sizes of the flags and the recipe if its shapes fit.
    """
    if record is None:
        corpus = open_corpus(corpus_path, given(settings).get("block_size"), recipe)
        config = model_config(variant, corpus, recipe, settings)
    else:
        if variant != record["variant"]:
            raise ValueError(f"{params_path}: holds a {record['variant']} model, not a {variant} one")
        try:
            config = GPTConfig(**record["config"])
            check_sizes(config, state_dict)
            if config.vocab_size != len(record["vocabulary"]):
                raise ValueError("the vocabulary has another size")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{params_path}.json: its config is not one of this code: {error}") from None
        trained = asdict(config) | config.options
        for name, value in settings.items():
            if value is not None and name not in trained:
                raise ValueError(f"the variant {variant} has no option {name}")
            if value is not None and value != trained.get(name):
                raise ValueError(f"{params_path}: was trained with {name} {trained.get(name)}, not {value}")
        corpus = open_corpus(corpus_path, config.block_size, recipe)
        if vocabulary_of(corpus) != record["vocabulary"]:
            raise ValueError(
                f"{params_path}: was trained with another vocabulary ({len(record['vocabulary'])} entries) than "
                f"{corpus_path} gives ({corpus.vocab_size}): name the corpus it was pretrained on"
            )
    model = GPT(config)
    if state_dict is not None:
        try:
            model.load_parameters(state_dict)
        except ValueError as error:
            raise ValueError(f"{params_path}: {error}") from None
    return model, corpus
