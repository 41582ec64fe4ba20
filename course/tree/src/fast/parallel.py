"""In this tree a model is trained in one process."""


class Processes:
    @classmethod
    def of_torchrun(cls, shard: bool) -> "Processes":
        raise ValueError("training runs in one process here: start it with python, not with torchrun")
