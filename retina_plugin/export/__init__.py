"""Write a trained detector to ONNX, torch.export, TorchScript or OpenVINO files, and run these
files.

``network`` builds what is written. ``onnx_format``, ``torch_format``, ``torchscript_format`` and
``openvino_format`` write and run files. ``description`` is the metadata in a file, ``detector``
runs a file as a detector, and ``load`` loads it. ``check`` and ``compare`` compare a file with the
model before it is kept, on ``images``. ``write`` combines these steps.
"""
