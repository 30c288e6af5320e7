"""Lightning as the host: the same configs, files and metrics where Detectron2 is not to be had."""
