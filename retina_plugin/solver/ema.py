"""An exponential moving average of a model's weights.

Evaluations and saved models use the average; training continues with the raw weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _NormBase

WINDOW = 0.05  # horizon of the average, as a share of all steps of the run
STATISTICS = ("running_mean", "running_var")


def decay(step: int, steps: int) -> float:
    """Return the factor of the old average in the update after a step.

    The horizon ``1 / (1 - decay)``, in steps, is :data:`WINDOW` of the run. At the start it is
    ``(step + 9) / 9``, which is shorter, so that the average soon contains little of the random
    initial weights. In a run of at most ``1 / WINDOW`` steps, the average equals the last weights.

    Args:
        step: the number of completed steps, from 1 on.
        steps: the number of steps of the whole run; it may change during the run.
    """
    horizon = max(WINDOW * steps, 1.0)
    return min(1 - 1 / horizon, step / (step + 9))


class WeightAverage:
    """Averages the trainable parameters of a model and the statistics of its batch norms.

    Frozen parameters and other buffers are not averaged. The averages are float32, also for
    parameters in half precision.
    """

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: its weights start the average. It may be on any device, and be moved later.
        """
        self.model = model
        # modules and names, because moving a model to a device replaces its buffers
        self._places = [
            (module, name, f"{prefix}.{name}" if prefix else name)
            for prefix, module in model.named_modules(remove_duplicate=False)
            for name in _averaged_names(module)
        ]
        self._values = [tensor.to(torch.float32, copy=True) for tensor in self._model_tensors()]
        self._raw: list[Tensor] | None = None  # raw weights while the model has the averaged ones

    def _model_tensors(self) -> list[Tensor]:
        return [getattr(module, name).detach() for module, name, _ in self._places]

    def _tensors(self) -> list[Tensor]:
        """Return the tensors of the model, and move the averages to their devices."""
        tensors = self._model_tensors()
        with torch.inference_mode(False):  # inference tensors cannot be updated
            self._values = [v.to(t.device) for v, t in zip(self._values, tensors, strict=True)]
        return tensors

    @torch.no_grad()
    def update(self, *, step: int, steps: int) -> None:
        """Update the average with the weights of the model; call this after each optimizer step.

        Args:
            step, steps: see :func:`decay`.
        """
        # lerp needs equal dtypes; .float() copies nothing if the tensor is float32
        current = [tensor.float() for tensor in self._tensors()]
        torch._foreach_lerp_(self._values, current, 1 - decay(step, steps))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averaged weights into the model; on exit, restore the raw weights."""
        self.apply()
        try:
            yield
        finally:
            self.restore()

    @torch.no_grad()
    def apply(self) -> None:
        """Put the averaged weights into the model, until :meth:`restore`.

        Every rank must call this, because all ranks first take the batch norm statistics of rank 0.
        These differ, because each rank has other images. Parameters are equal on all ranks.
        """
        tensors = self._tensors()
        self._share_statistics()
        self._raw = [tensor.clone() for tensor in tensors]
        for tensor, value in zip(tensors, self._values, strict=True):
            tensor.copy_(value)

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the raw weights, if the model has the averaged ones."""
        if self._raw is None:
            return
        for tensor, value in zip(self._tensors(), self._raw, strict=True):
            tensor.copy_(value)
        self._raw = None

    def _share_statistics(self) -> None:
        if dist.is_available() and dist.is_initialized():
            for (_, name, _), value in zip(self._places, self._values, strict=True):
                if name in STATISTICS:
                    dist.broadcast(value, src=0)

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state dict of the model with the averaged weights."""
        return self._state_with(self._values)

    def raw_state(self) -> dict[str, Tensor]:
        """Return the state dict of the model with the raw weights."""
        return dict(self.model.state_dict()) if self._raw is None else self._state_with(self._raw)

    def _state_with(self, values: list[Tensor]) -> dict[str, Tensor]:
        state = dict(self.model.state_dict())
        for (_, _, name), value in zip(self._places, values, strict=True):
            state[name] = value
        return state

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Continue from the averaged weights of a checkpoint.

        Args:
            state: a result of :meth:`averaged_state`; other names are ignored.
        """
        for (_, _, name), value in zip(self._places, self._values, strict=True):
            value.copy_(state[name])


def _averaged_names(module: nn.Module) -> list[str]:
    names = [name for name, p in module.named_parameters(recurse=False) if p.requires_grad]
    if isinstance(module, _NormBase):
        names += [name for name in STATISTICS if getattr(module, name) is not None]
    return names
