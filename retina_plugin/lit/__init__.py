"""Lightning as the host, with the same configs, files and metrics as on Detectron2."""
