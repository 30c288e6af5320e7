"""The ``retina`` command; each verb, such as ``train``, is one module.

torch is imported only after the command line is parsed, so ``--help`` and errors in the command
line take a fraction of a second.
"""

from retina_plugin.cli.command import main, start

__all__ = ["main", "start"]
