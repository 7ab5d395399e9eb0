"""Ray Train on one machine: two workers, each a process of the same DDP training as in train.py.

    pip install "ray[train]"
    python examples/engines/ray_train.py

What is Ray's is all in `train_on_worker` and `main`; module, loaders and callbacks are those of train.py.
"""

import argparse
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
from ray.train.torch import TorchTrainer
from train import Classifier, CSVLogger, callbacks, loader, pl


def train_on_worker(config: dict) -> None:
    pl.seed_everything(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices="auto",
        strategy=RayDDPStrategy(),
        plugins=[RayLightningEnvironment()],
        max_epochs=config["epochs"],
        # Absolute: a worker does not run in the folder that it was started from.
        logger=CSVLogger(config["output"]),
        default_root_dir=config["output"],
        log_every_n_steps=10,
        enable_progress_bar=False,
        callbacks=callbacks(),
    )
    prepare_trainer(trainer).fit(Classifier(), loader(shuffle=True), loader())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument(
        "--output", type=Path, default=Path("runs/engines"), help="on a disk that worker 0 can write to"
    )
    args = parser.parse_args()

    output = str(args.output.resolve())
    ray.init(num_cpus=args.workers, include_dashboard=False)
    try:
        TorchTrainer(
            train_on_worker,
            train_loop_config={"epochs": args.epochs, "output": output},
            scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=False, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(storage_path=output, name="ray"),
        ).fit()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
