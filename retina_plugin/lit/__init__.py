"""Lightning as the host: the same configs, files and metrics if Detectron2 is not installed."""
