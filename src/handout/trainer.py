"""`trainer` of the handouts: Trainer and TrainerConfig as a student's run.py calls them, over those of the core."""

import math
from typing import Any

import torch
from core import device, steps
from core import trainer as ours


class TrainerConfig:
    """Settings by keyword or by assignment. `ckpt_path`: where to save parameters; `writer`: TensorBoard's."""

    max_epochs, batch_size, learning_rate = 10, 64, 3e-4
    betas, grad_norm_clip, weight_decay = (0.9, 0.95), 1.0, 0.1
    lr_decay, warmup_tokens, final_tokens = False, 375e6, 260e9
    ckpt_path, num_workers, writer = None, 0, None

    def __init__(self, **settings: Any):
        for name, value in settings.items():
            setattr(self, name, value)


class Trainer:
    """Trains any model with `logits, loss = model(x, y)`, on a GPU if there is one. Everything but `bias` decays.

    It saves the parameters to `ckpt_path`, if there is one, whenever the loss on `test_dataset` is the lowest so far,
    or at the end where there is no `test_dataset`.
    """

    def __init__(
        self, model: Any, train_dataset: Any, test_dataset: Any, config: Any, writer: Any = None, device: Any = None
    ):
        device = device if device is not None else getattr(config, "device", None)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        self.model, self.config = model.to(self.device), config
        self.train_dataset, self.test_dataset = train_dataset, test_dataset
        self.writer = writer if writer is not None else getattr(config, "writer", None)
        self.best = math.inf
        self.tokens = 0

    def train(self) -> None:
        names = "max_epochs batch_size learning_rate betas grad_norm_clip weight_decay lr_decay warmup_tokens"
        given = {name: getattr(self.config, name) for name in [*names.split(), "final_tokens", "num_workers"]}
        config = ours.TrainerConfig(
            **given,
            decay_gains_and_embeddings=True,
            log_every=1 if self.writer is not None else 50,
        )
        for rows in (self.train_dataset, self.test_dataset):
            if hasattr(rows, "batch"):
                rows.to(self.device)
        ways: dict[str, Any] = {}
        with device.threads_restored():
            if getattr(self.model, "takes_layouts", False):
                ways, _ = steps.fastest(self.model, self.train_dataset, config)
            datasets = self.train_dataset, self.test_dataset
            trainer = ours.Trainer(self.model, *datasets, config, **ways, on_log=self.on_log)
            trainer.train()
        self.tokens = trainer.tokens
        if self.test_dataset is None:
            self.save_checkpoint()

    def on_log(self, line: dict[str, float]) -> None:
        if self.writer is not None:
            for name, tag in {"loss": "train/loss", "lr": "train/lr", "validation_loss": "test/loss"}.items():
                if name in line:
                    self.writer.add_scalar(tag, line[name], line["step"])
        if line.get("validation_loss", math.inf) < self.best:
            self.best = line["validation_loss"]
            self.save_checkpoint()

    def save_checkpoint(self) -> None:
        """Write the parameters to `config.ckpt_path`, if there is one."""
        if getattr(self.config, "ckpt_path", None) is not None:
            torch.save(self.model.state_dict(), self.config.ckpt_path)
