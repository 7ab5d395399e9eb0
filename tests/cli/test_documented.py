"""docs/command-line.md shows what the program prints."""

from __future__ import annotations

import re
import shlex
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger
from support.modules import CLASSES, Classifier, loader, trainer

import lwcallbacks as lw
from lwcallbacks.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
WHEN = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d|(?<=val/loss )\d\.\d+")


class Logs(Classifier):
    """Logs the loss of validation."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = super().validation_step(batch, batch_idx)
        self.log("val/loss", loss)
        return loss


@pytest.fixture
def _two_runs(tmp_path: Path) -> None:
    """Of one epoch and of two."""
    for epochs in (1, 2):
        made = trainer(max_epochs=epochs, logger=CSVLogger("."), callbacks=[lw.ConfusionMatrix(CLASSES)])
        made.fit(Logs.seeded(), loader(200), loader())


@pytest.mark.usefixtures("_two_runs")
def test_the_example_is_what_the_program_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """But for the times and the losses."""
    [(command, shown)] = re.findall(r"^```console\n\$ ([^\n]*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    program, *arguments = shlex.split(command)
    assert program == "lwcallbacks"
    assert main(arguments) == 0
    assert WHEN.sub("WHEN", capsys.readouterr().out) == WHEN.sub("WHEN", shown)


@pytest.mark.usefixtures("_two_runs")
def test_every_command_of_the_table_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 0, a browser being there."""
    monkeypatch.setattr(webbrowser, "open", lambda url: True)
    commands = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "lwcallbacks"
        if arguments[-1] in ("--version", "--help"):
            with pytest.raises(SystemExit, match=r"^0$"):
                main(arguments)
        else:
            assert main(arguments) == 0
