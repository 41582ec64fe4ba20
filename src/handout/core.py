"""The modules of the core, also where this folder has modules of the same names before them on the path.

A student's run.py says `import model` and means the names of the handout. The core says `import model` and means its
own. So the core is imported while this folder is off the path, and its modules are kept here.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
SHADOWED = ("attention", "dataset", "model", "trainer")  # modules of the core that have a namesake here


def load() -> dict[str, ModuleType]:
    """The modules of the core by name, and those of its wings that are used here."""
    namesakes = {name: sys.modules.pop(name) for name in SHADOWED if name in sys.modules}
    path = list(sys.path)
    sys.path[:] = [str(HERE.parent)] + [entry for entry in path if Path(entry or ".").resolve() != HERE]
    try:
        names = (*SHADOWED, "optimizer", "fast.steps", "fast.rows", "fast.device", "safe.files")
        found = {name: importlib.import_module(name) for name in names}
    finally:
        sys.path[:] = path
        for name in SHADOWED:  # what a student imports under these names comes from the path again
            sys.modules.pop(name, None)
        sys.modules.update(namesakes)
    return found


modules = load()
attention, dataset, model, trainer = (modules[name] for name in SHADOWED)
optimizer, files = modules["optimizer"], modules["safe.files"]
steps, rows, device = (modules[f"fast.{name}"] for name in ("steps", "rows", "device"))
