"""The registry of importers. The importer of a path is chosen by the content of its files."""

from __future__ import annotations

from retina_plugin.config.registry import Registry

IMPORTERS = Registry("importer", choice_key="the content of DATASETS.TRAIN and DATASETS.TEST")
