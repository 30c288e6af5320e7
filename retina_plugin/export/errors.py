"""The errors of this package."""


class ExportError(ValueError):
    """A model cannot be exported, or an exported file cannot be used. The message names the file or
    the key, the problem and what to do."""


def missing_library(library: str, purpose: str) -> ImportError:
    """Return the error for a library that is not installed.

    Args:
        library: the name of its package.
        purpose: what it is needed for.
    """
    return ImportError(
        f"{purpose} needs {library}: pip install {library}, or pip install 'retina_plugin[export]'"
    )
