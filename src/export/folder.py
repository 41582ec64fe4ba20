"""`run.py export`: trained parameters for other code, as a file for the course's or as a folder for libraries.

A folder is made beside its place and checked: what the library computes from it must be what our model computes. Only
then does it get its name.
"""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from export import card, huggingface, onnx
from model import GPT
from safe import files
from vocabulary import MASK_CHAR, PAD_CHAR, Vocabulary

FORMATS: dict[str, Any] = {"huggingface": huggingface, "onnx": onnx}
NAMES = ("README.md", "tokenizer.json", *huggingface.NAMES, *onnx.NAMES)  # of all files that are written
TOLERANCE = 1e-4  # largest difference of a logit, or share of the largest one: rounding grows with it


def export(
    path: str | Path,
    outputs_path: str | Path | None = None,
    to: str | Path | None = None,
    format: str | None = None,
    overwrite: bool = False,
) -> str:
    """Write the parameters at `path` for other code. Returns a line that says what was written.

    outputs_path: a file for the course's code
    to: a folder for Hugging Face and for ONNX, or for the one that `format` names
    Raises ValueError or OSError, with nothing written, for a model that a format cannot hold, a package that is not
    installed, and a place that is taken or cannot be written.
    """
    if (format == "course" or format is None) and outputs_path is not None and to is None:
        return files.export(path, outputs_path)
    if to is None or outputs_path is not None or format == "course":
        raise ValueError("export writes a file for the course's code (--outputs_path FILE) or a folder (--to DIR)")
    chosen = [FORMATS[format]] if format else list(FORMATS.values())
    folder = Path(to).resolve()
    check_folder(folder, path, overwrite)
    require([package for part in chosen for package in part.PACKAGES])
    model, record = load(path)
    if huggingface in chosen:
        huggingface.check(path, model)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name  # not the temporary folder itself, which only its owner may read
        made.mkdir()
        tokenizer = huggingface.tokenizer_of(Vocabulary(record["vocabulary"]))
        tokenizer.save(str(made / "tokenizer.json"))
        differences = [compare(path, model, part, part.write(made, model, tokenizer)) for part in chosen]
        page = card.text(path, record, model, chosen, max(differences))
        (made / "README.md").write_text(page, encoding="utf-8", newline="\n")
        for file in made.iterdir():
            file.chmod(made.stat().st_mode & 0o666)  # safetensors lets only the owner read its file
        place(made, folder)
    return f"{to}: the {record['variant']} model for {' and for '.join(part.LIBRARY for part in chosen)}"


def check_folder(folder: Path, path: str | Path, overwrite: bool) -> None:
    """Raise OSError or ValueError if `folder` cannot be written, or must not: before a library is imported."""
    if not folder.is_dir():
        return files.check_writable(folder, path)
    if any(folder.iterdir()) and not overwrite:
        raise ValueError(f"{folder}: is not empty: --overwrite replaces an export in it, and leaves other files alone")
    for name in NAMES:
        files.check_writable(folder / name, path)


def require(packages: list[str]) -> None:
    if missing := [name for name in dict.fromkeys(packages) if find_spec(name) is None]:
        raise ValueError(f"not installed: {', '.join(missing)} (pip install -r requirements-export.txt)")


def load(path: str | Path) -> tuple[GPT, dict[str, Any]]:
    """The model at `path`, in evaluation mode, and its record."""
    state_dict, record = files.read_parameters(path)
    if record is None:
        raise ValueError(f"{path}: has no record {path}.json, so it cannot be known what model this is")
    characters = record["vocabulary"]
    if characters[:2] != PAD_CHAR + MASK_CHAR or len(set(characters)) < len(characters):
        raise ValueError(f"{path}.json: its vocabulary is not PAD, MASK and distinct characters")
    fields = files.recorded_config(record["variant"], path, record, {})
    return files.model_of(path, state_dict, fields).eval(), record


@torch.inference_mode()
def compare(path: str | Path, model: GPT, part: Any, logits: Any) -> float:
    """The largest difference between our logits and `logits`, which a library computes from what was written.

    Raises ValueError if it is more than rounding.
    """
    config, largest = model.config, 0.0
    generator = torch.Generator().manual_seed(0)
    for B, T in ((1, 1), (2, config.block_size), (3, (config.block_size + 1) // 2)):
        idx = torch.randint(config.vocab_size, (B, T), generator=generator)
        try:
            wanted = model(idx)[0]
            difference = (logits(idx) - wanted).abs().max().item()
        except Exception as error:  # onnxruntime's errors have no narrower class in common
            reason = str(error).strip().split("\n")[0]
            raise ValueError(f"{path}: {part.LIBRARY} cannot compute this {config.variant} model: {reason}") from None
        largest = max(largest, difference)
        if not difference <= TOLERANCE * max(1.0, wanted.abs().max().item()):
            raise ValueError(
                f"{path}: {part.LIBRARY} computes other logits of this {config.variant} model: they differ by up to "
                f"{difference:.1e}, and nothing was written"
            )
    return largest


def place(made: Path, folder: Path) -> None:
    """Give the folder `made` its name, or move its files into a folder that is there.

    The files of an earlier export go first. Should this stop half-way, files are missing; old and new never mix.
    """
    if not folder.exists():
        os.rename(made, folder)
        return
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
    for file in sorted(made.iterdir()):
        os.replace(file, folder / file.name)
