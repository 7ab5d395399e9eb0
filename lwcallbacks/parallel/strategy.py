"""DataParallelStrategy: each step runs in several replicas of the module, on a share of the batch each.

trainer = pl.Trainer(strategy=lw.DataParallelStrategy(), accelerator="gpu", devices=2)
trainer = pl.Trainer(strategy=lw.DataParallelStrategy(replicas=3), accelerator="cpu")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lwcallbacks.capture import ForwardCalls, listen_apart
from lwcallbacks.lightning import (
    PACKAGE,
    Accelerator,
    CheckpointIO,
    LightningModule,
    Precision,
    SingleDeviceStrategy,
    Trainer,
    TrainerFn,
    either,
)
from lwcallbacks.parallel.logged import Logged, log_once
from lwcallbacks.parallel.replicas import CpuReplicas, Replicas, TorchReplicas, here
from lwcallbacks.parallel.shares import Shares, gather, scatter
from lwcallbacks.state.replica import refuse_metrics
from lwcallbacks.warn import warn

_ENDS = {"training_step": "training_step_end", "validation_step": "validation_step_end", "test_step": "test_step_end"}
_LIGHTNING_ENDS = hasattr(SingleDeviceStrategy, "training_step_end")
"""Whether Lightning itself calls them after the strategy's step, as Lightning 1 does."""


class DataParallelStrategy(SingleDeviceStrategy):
    """One process and several replicas: what Lightning 1 had as ``strategy="dp"`` and Lightning 2 dropped.

    For every step the batch is cut along its first dimension, the module is replicated, each replica runs the step on
    its share in a thread, and the outputs are gathered in the batch's order. Then ``training_step_end(outputs)``,
    ``validation_step_end`` or ``test_step_end`` runs once, on your own module, where it is defined: a scalar has become
    a vector there, with one entry per replica. Where it is not defined, scalars such as the loss become their mean
    over the samples. Callbacks see what came out of that. A backward pass brings gradients to your own module.

    ``self.log`` in a step logs once, for the whole batch: the mean over the replicas, which weigh as many samples as
    they had (or as they passed as ``batch_size=``); sum, minimum and maximum where ``reduce_fx`` says so.

    Args:
        replicas: this many replicas on the CPU.
        parallel_devices: CUDA devices, or their indices. With neither argument, the Trainer's ``devices``.
        accelerator, checkpoint_io, precision_plugin: as in every strategy of Lightning.

    Raises:
        ValueError: an argument is not as said here; or, at setup, the module uses manual optimization or is compiled;
            or, in a step, the batch's tensors differ in their number of samples, or outputs do not fit together.
        ReplicaError: a metric or a `StateCore` is updated in a replica; the message says where to do it instead.

    Examples:
        >>> strategy = DataParallelStrategy(replicas=3)      # Trainer(strategy=strategy, accelerator="cpu")
        >>> strategy.parallel_devices
        [device(type='cpu'), device(type='cpu'), device(type='cpu')]
    """

    strategy_name = "lw_dp"

    def __init__(
        self,
        replicas: int | None = None,
        *,
        parallel_devices: Sequence[torch.device | int | str] | None = None,
        accelerator: Accelerator | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__("cpu", accelerator, checkpoint_io, precision_plugin)
        if replicas is not None and (not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 1):
            raise ValueError(f"DataParallelStrategy: replicas={replicas!r}, expected an int of at least 1")
        if replicas is not None and parallel_devices is not None:
            raise ValueError(
                f"DataParallelStrategy: found replicas={replicas} and parallel_devices={parallel_devices!r}, expected "
                "one of them: replicas for the CPU, or parallel_devices=[0, 1] for CUDA"
            )
        self._mean: Callable[[], Any] | None = None
        devices = ["cpu"] * replicas if replicas is not None else parallel_devices or ()
        self.parallel_devices = [torch.device("cuda", d) if isinstance(d, int) else torch.device(d) for d in devices]

    def __repr__(self) -> str:
        # Lightning shows it in the error for a strategy of the other package, which is not clear without.
        return (
            f"<DataParallelStrategy of {PACKAGE}; for another Trainer, import the Trainer's package before lwcallbacks>"
        )

    @property
    def parallel_devices(self) -> list[torch.device]:
        """One device per replica, the first of which has the module. The Trainer sets it, where nothing was given."""
        return self._parallel_devices

    @parallel_devices.setter
    def parallel_devices(self, devices: Sequence[torch.device]) -> None:
        types = {device.type for device in devices}
        repeated = types == {"cuda"} and len(set(devices)) < len(devices)
        if types not in (set(), {"cpu"}, {"cuda"}) or repeated:
            raise ValueError(
                f"DataParallelStrategy: the devices are {[str(device) for device in devices]}, expected CUDA devices "
                "that differ, as in parallel_devices=[0, 1], or replicas=2 on the CPU"
            )
        self._parallel_devices = list(devices)
        if devices:
            self._root_device = devices[0]

    @property
    def _replicas(self) -> Replicas:
        return CpuReplicas() if self.root_device.type == "cpu" else TorchReplicas(self.parallel_devices)

    def setup(self, trainer: Trainer) -> None:
        module = self.lightning_module
        assert module is not None
        name = type(module).__name__
        if trainer.state.fn == TrainerFn.FITTING and not module.automatic_optimization:
            raise ValueError(
                f"DataParallelStrategy: {name}.automatic_optimization is False, expected True: its training_step would "
                "step the optimizers once in every replica. Return the loss from training_step and let Lightning step, "
                "or take another strategy, such as strategy='ddp'"
            )
        own = [step for step in (*_ENDS, "predict_step", "forward") if step in vars(module)]
        if own:
            raise ValueError(
                f"DataParallelStrategy: {own[0]} is set on the {name} itself, as torch.compile does or an assignment, "
                "expected a method of its class: a replica would run it on the original. Pass the module that is not "
                "compiled, or define a subclass"
            )
        super().setup(trainer)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.train_step_context():
            return self._step("training_step", *args, **kwargs)

    def backward(self, closure_loss: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if closure_loss.numel() != 1:
            raise ValueError(
                f"the loss has shape {tuple(closure_loss.shape)} after training_step and training_step_end, expected "
                "one number. Return a scalar from training_step; in training_step_end there is one per replica, so "
                "return outputs.mean(), or {'loss': outputs['loss'].mean()}"
            )
        return super().backward(closure_loss, *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.val_step_context():
            return self._step("validation_step", *args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.test_step_context():
            return self._step("test_step", *args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.predict_step_context():
            return self._step("predict_step", *args, **kwargs)

    def _step(self, step: str, batch: Any, *args: Any, **kwargs: Any) -> Any:
        module = self.lightning_module
        assert module is not None
        replicas = self._replicas
        shares = scatter(batch, len(self.parallel_devices), replicas.split)
        modules = replicas.replicate(module, len(shares.parts))
        logged = [_own(replica, device) for replica, device in zip(modules, self.parallel_devices, strict=False)]
        listening = [listen_apart(replica) for replica in modules]
        outcomes = replicas.run(
            [
                here(partial(getattr(replica, step), part, *args, **kwargs), self.root_device.type)
                for replica, part in zip(modules, shares.parts, strict=True)
            ]
        )
        for i, (outcome, size) in enumerate(zip(outcomes, shares.sizes, strict=True)):
            if outcome.error is not None:
                outcome.error.add_note(
                    f"in replica {i} of {len(outcomes)}, which had {size} of {sum(shares.sizes)} samples"
                )
                raise outcome.error
        log_once(module, logged, shares.sizes)
        _hand_over(listening, shares, replicas)

        outputs = [outcome.value for outcome in outcomes]
        gathered = partial(gather, outputs, shares.sizes, replicas.join, path=f"{step}'s output")
        step_end = _step_end(module, step)
        if step_end is None:
            return gathered(average=True)
        if _LIGHTNING_ENDS:
            self._mean = partial(gathered, average=True)
            return gathered(average=False)
        ended = step_end(gathered(average=False))
        return gathered(average=True) if ended is None else ended

    def _after_end(self, output: Any) -> Any:
        """Lightning 1 asks after the module's own end, for what to take where that returned None."""
        mean, self._mean = self._mean, None
        return output if mean is None else mean()

    training_step_end = validation_step_end = test_step_end = _after_end


def _step_end(module: LightningModule, step: str) -> Callable[[Any], Any] | None:
    """The module's own `training_step_end` or such, if it has one; in Lightning 1 every module has empty ones."""
    name = _ENDS.get(step, "")
    end = getattr(module, name, None)
    empty = [getattr(base, name, None) for base in either("core.module", "LightningModule")]
    return end if callable(end) and getattr(end, "__func__", end) not in empty else None


def _own(replica: LightningModule, device: torch.device) -> Logged:
    """Give a replica what it must not share with the others; return where it logs to."""
    refuse_metrics(replica)
    module: Any
    for module in replica.modules():
        # torch leaves them out, and a penalty on the weights, summed in the step, would be 0 and nobody would know.
        module._parameters.update(module._former_parameters)
        if isinstance(module, either("core.module", "LightningModule")):
            module._device = device
    replica.__dict__["log"] = logged = Logged()
    return logged


def _hand_over(listening: Sequence[dict[ForwardCalls, ForwardCalls]], shares: Shares, replicas: Replicas) -> None:
    """Gather what was recorded call by call, as if the original had been called with the whole batch."""
    for recorder in listening[0]:
        recorded = [own[recorder].calls for own in listening]
        try:
            if len({len(calls) for calls in recorded}) > 1:
                raise ValueError(f"replicas called it {[len(calls) for calls in recorded]} times")
            for calls in zip(*recorded, strict=True):
                output = gather([output for _, output in calls], shares.sizes, replicas.join, path="self(x)")
                recorder.calls.append((shares.original([first for first, _ in calls]), output))
        except ValueError as error:
            # Whoever needs the predictions says so; whoever has them from the step's output is not disturbed.
            warn(f"what self(x) returned is not seen by callbacks: {error}")
            recorder.calls.clear()
