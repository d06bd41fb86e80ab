"""Packages that only the decoder tools need, imported when they are first used."""

from importlib import import_module

__all__ = ["require"]


def require(name):
    """Import ``name``, or say how to get it.

    Raises
    ------
    ImportError
        The package is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(f"The decoder tools need the package {package}, which is not installed: "
                          f"pip install 'quantacore[decoder]'") from error
