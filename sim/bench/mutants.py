"""Bugs planted on purpose: would the tests notice?"""

import importlib
import sys
import types
from pathlib import Path

__all__ = ["plant"]


def plant(monkeypatch, package, name, old, new, *, users=()):
    """Give everyone the classes of a changed copy of a module.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
        Undoes it.
    package, name : str
        The module, ``package.name``; all modules of the package get the changed classes.
    old, new : str
        What stands in the module's text exactly once, and what is to stand there.
    users : sequence of str
        Packages besides whose modules get them.
    """
    module = importlib.import_module(f"{package}.{name}")
    source = Path(module.__file__).read_text()
    assert source.count(old) == 1, f"{name}.py has {source.count(old)} times {old!r}"
    changed = types.ModuleType(module.__name__)
    exec(compile(source.replace(old, new), module.__file__, "exec"), changed.__dict__)
    mine = {item: getattr(module, item) for item in module.__all__}
    found = [(user, item) for user in [*sys.modules] if user.startswith((package, *users))
             for item in mine if vars(sys.modules[user]).get(item) is mine[item]]
    assert len(found) > len(mine), f"nobody uses {name}.py"
    for user, item in found:
        monkeypatch.setattr(sys.modules[user], item, getattr(changed, item))
