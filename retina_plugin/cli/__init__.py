"""The ``retina`` command: one file a verb.

Nothing here imports torch before the command line is read, so that ``--help`` and a mistake take a
fraction of a second.
"""

from retina_plugin.cli.command import main, start

__all__ = ["main", "start"]
