"""Write docs/config.md, the table of all keys, from retina_plugin/config/keys.py.

python tools/config_page.py
"""

from __future__ import annotations

import os
import sys

sys.path.append(os.path.dirname(__file__))  # for programs that import this file
from command_line import Parser  # first, to handle Ctrl-C during imports

# isort: split
from collections.abc import Mapping
from pathlib import Path

from retina_plugin.config import DETECTRON2_KEYS, NODE, PLUGIN_KEYS, Key
from retina_plugin.config.files import write_atomically
from retina_plugin.engine.process import run

PAGE = Path(__file__).resolve().parents[1] / "docs/config.md"

HEAD = """# Config keys

<!-- Written by tools/config_page.py from retina_plugin/config/keys.py; change the text there. -->

A config is a YAML file of keys in groups. `_BASE_` names a file that is read first, relative to the
folder of the config. `${configDir}` in a value is the folder of the file that has it: data sets in
the folder of a run have such names in its `config.yaml`, so the folder can be moved. Values on the
command line replace the values of both files:

```bash
python tools/train_net.py --config-file configs/digits/retinanet_compact.yaml \\
    SOLVER.MAX_ITER 500 OUTPUT_DIR out
```

On the command line, quote lists, and write a comma after a single entry: `DATASETS.TEST
"('my/val.json@my/images',)"`. An unknown key is an error that names the most similar key. YAML is
read as plain data: tags such as `!!python`, duplicate keys, infinite numbers and NaN are errors
that name the file and the line.

The defaults below are Detectron2's. `configs/Base-RetinaNet.yaml` sets those of the RetinaNet
paper, and every config here starts from it.
"""


def table(keys: Mapping[str, Key]) -> str:
    """Format a Markdown table of keys with their defaults and meanings."""
    rows = [
        f"| `{key}` | `{default!r}` | {meaning} |" for key, (default, meaning, _) in keys.items()
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def page() -> str:
    """Return the text of the page."""
    return f"""{HEAD}
## Keys of this project

Under `{NODE}`; everything else is Detectron2's.

{table(PLUGIN_KEYS)}
## Keys of Detectron2

These keys have Detectron2's names, meanings and defaults, and they work on both hosts. On
Detectron2, its other keys can also be used; on Lightning, they are errors.

{table(DETECTRON2_KEYS)}"""


def main(argv: list[str] | None = None) -> None:
    Parser(__doc__).parse_args(argv)
    write_atomically(str(PAGE), page())
    print(f"written: {PAGE}")


if __name__ == "__main__":
    run(main)
