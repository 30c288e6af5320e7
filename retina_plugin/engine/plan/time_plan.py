"""Choose steps, evaluations and checkpoints by the time that a run may take."""

from __future__ import annotations

from dataclasses import dataclass

from retina_plugin.config.keys import MINUTES, NODE
from retina_plugin.engine.plan.given import GIVEN, Given
from retina_plugin.engine.plan.plan import Entry

PERIOD = "TEST.EVAL_PERIOD"
LEAST_STEPS = 600  # with fewer steps, a network from scratch learns little
EVALUATION_SHARE = 0.05  # largest share of the time for evaluations
INFERENCE_SHARE = 1 / 3  # time of inference / time of training, for the same pixels
MOST_EVALUATIONS = 10
EPOCHS = 100  # passes over the images without a limit of time
PATIENCE = 5  # evaluations without a better one, without a limit of time
OVERHEAD = 15.0  # seconds for thresholds, pictures and checkpoints


@dataclass(frozen=True)
class Costs:
    """Measured and derived times.

    Attributes:
        step: seconds of a training step.
        evaluation: seconds of an evaluation of the validation images.
        trial: seconds that a trial of both networks has taken.
    """

    step: float
    evaluation: float
    trial: float = 0.0


def evaluation_seconds(
    *, step: float, batch: int, images: int, train_pixels: float, test_pixels: float
) -> float:
    """Estimate the time of an evaluation from the time of a training step."""
    return step / batch * INFERENCE_SHARE * images * test_pixels / train_pixels


def number_of_steps(minutes: float, costs: Costs, period: int | None = None) -> int:
    """Return the training steps that fit into the time beside the evaluations.

    Args:
        minutes: the time.
        costs: see :class:`Costs`.
        period: steps between evaluations, or 0 for one at the end; None if the plan chooses.
    """
    left = minutes * 60 - OVERHEAD - costs.trial
    if period:
        return max(int(left / (costs.step + costs.evaluation / period)), 0)
    evaluations = number_of_evaluations(minutes, costs) if period is None else 1
    return max(int((left - evaluations * costs.evaluation) / costs.step), 0)


def number_of_evaluations(minutes: float, costs: Costs) -> int:
    """Return how many evaluations take at most :data:`EVALUATION_SHARE` of the time, at least 1."""
    affordable = int(minutes * 60 * EVALUATION_SHARE / max(costs.evaluation, 1e-9))
    return min(max(affordable, 1), MOST_EVALUATIONS)


def timed_entries(minutes: float, costs: Costs, given: Given) -> list[Entry]:
    """Set steps, evaluations and checkpoints for a limit of time.

    Args:
        minutes, costs: see :func:`number_of_steps`.
        given: the values on the command line.
    """
    steps = number_of_steps(minutes, costs, given.get(PERIOD))
    evaluations = number_of_evaluations(minutes, costs)
    period = given.get(PERIOD, max(-(-steps // evaluations), 1))
    evaluations = max(-(-steps // period), 1) if period else 1
    reason = (
        f"{minutes:g} minutes: a step takes {costs.step:.2g} s, an evaluation about "
        f"{costs.evaluation:.2g} s, {evaluations} of them; the run adapts the number of steps"
    )
    return [
        *_step_entries(steps, period, reason, given),
        Entry(MINUTES, minutes, "time budget of the whole command"),
    ]


def open_entries(*, num_images: int, batch: int, given: Given) -> list[Entry]:
    """Set steps, evaluations and checkpoints without a limit of time."""
    epoch = max(num_images // batch, 1)
    steps = min(max(EPOCHS * epoch, 2000), 100_000)
    reason = f"at most {steps * batch / num_images:.0f} passes over {num_images} images"
    return [
        *_step_entries(steps, max(steps // 20, 1), reason, given),
        Entry(
            f"{NODE}.SOLVER.PATIENCE",
            PATIENCE,
            "training stops after this many evaluations without a better one",
            printed=True,
        ),
    ]


def fixed_entries(steps: int, given: Given) -> list[Entry]:
    """Set evaluations and checkpoints for a number of steps that the user chose."""
    return _step_entries(steps, max(steps // MOST_EVALUATIONS, 1), GIVEN, given)


def _step_entries(steps: int, period: int, reason: str, given: Given) -> list[Entry]:
    return [
        Entry("SOLVER.MAX_ITER", steps, reason, printed=True),
        Entry("SOLVER.WARMUP_ITERS", min(100, steps // 10), "a tenth of the steps, at most 100"),
        Entry(PERIOD, period, "steps between evaluations"),
        Entry(
            "SOLVER.CHECKPOINT_PERIOD",
            given.get(PERIOD) or max(period, 1),
            "steps between checkpoints, as between evaluations",
        ),
    ]
