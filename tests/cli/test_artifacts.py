"""`lwcallbacks artifacts` says what has become of checkpoints, and delivers what waits."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from support.wandb_server import WandbServer

from lwcallbacks.artifacts import Receipt, Version
from lwcallbacks.artifacts.earlier import tidy
from lwcallbacks.artifacts.holding import digest_of, hold
from lwcallbacks.artifacts.ledger import FILE, Ledger
from lwcallbacks.cli import main
from lwcallbacks.writers.wandb_artifacts import WandbStore

DELIVERED = Receipt("delivered", "someone/digits/model-1a2b:v0")
OFFLINE = "wandb/offline-run-20260101_120000-1a2b"


def save(
    directory: Path, number: int, name: str = "model-1a2b", stores: tuple[str, ...] = ("wandb",), **facts: Any
) -> Version:
    """A version that is held and waits, in the ledger of a run's folder."""
    path = directory / "checkpoints" / f"epoch={number}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([number]) * 3_000_000)
    aliases = ("latest", "best", f"epoch-{number}") if facts.get("best", True) else ("latest", f"epoch-{number}")
    facts = {"epoch": number, "step": 1000 * number, "monitor": "val/loss", "score": 1 / (number + 1)} | facts
    version = Version(f"{name}-{number}", name, str(path), aliases, facts)
    with Ledger(directory / "artifacts") as ledger:
        ledger.saved(version, stores)
        ledger.held(version.id, hold(path, directory / "artifacts" / "held" / version.id))
        ledger.sealed(version.id, *digest_of(path))
        return ledger[version.id].version


def note(directory: Path, number: int, what: str, *more: Any) -> None:
    with Ledger(directory / "artifacts") as ledger:
        getattr(ledger, what)(f"model-1a2b-{number}", *more)


@pytest.fixture
def every_kind(tmp_path: Path) -> Path:
    """A run with a version of every state."""
    run = tmp_path / "logs" / "version_0"
    for number in range(8):
        save(run, number, best=number < 5, stores=("wandb", "mlflow") if number == 5 else ("wandb",) if number else ())
    note(run, 0, "released")
    note(run, 1, "delivered", "wandb", DELIVERED)
    for number, why in ((2, "deleted"), (3, "it is 'production'")):
        note(run, number, "delivered", "wandb", Receipt("delivered", f"someone/digits/model-1a2b:v{number}"))
        note(run, number, "removed")
        note(run, number, "dropped", "wandb", why)
    note(run, 4, "delivered", "wandb", Receipt("staged", OFFLINE))
    note(run, 5, "delivered", "wandb", Receipt("delivered", "someone/digits/model-1a2b:v5"))
    note(run, 6, "failed", "W&B does not take it: metadata is larger than what it takes for a version", "wandb")
    note(run, 7, "failed", "its content is gone")
    return tmp_path / "logs"


def test_what_is_on_disk_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Without a store: what is there, what was removed by hand, what a later save has replaced, what was cut short."""
    from lwcallbacks.artifacts.version import Version

    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / "checkpoints" / name for name in ("a.ckpt", "b.ckpt", "hand.ckpt", "torn.ckpt")}
    with Ledger(tmp_path / "logs" / "artifacts") as ledger:
        for number, name in enumerate(("a.ckpt", "b.ckpt", "hand.ckpt", "hand.ckpt", "torn.ckpt")):
            ledger.saved(Version(str(number), "model", str(files[name]), ("latest",), {"step": number}), [])
            if name != "torn.ckpt":
                ledger.sealed(str(number), f"sha256:{number:064}", 10)
    files["a.ckpt"].parent.mkdir()
    for name in ("a.ckpt", "hand.ckpt"):
        files[name].write_text(name)
    assert main(["artifacts", "logs"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        f"step 0 0.0 KiB kept at {files['a.ckpt']}",
        f"step 1 0.0 KiB was at {files['b.ckpt']}, where nothing is any more",
        f"step 2 0.0 KiB replaced by a later save to {files['hand.ckpt']}",
        f"step 3 0.0 KiB latest kept at {files['hand.ckpt']}",
        "step 4 not written yet, as far as is known",
    ):
        assert text in told, told


def test_every_state_is_said(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In lines of a terminal's usual width; an alias is with the last version that has it."""
    assert main(["artifacts", "logs"]) == 0
    printed = capsys.readouterr()
    kept = every_kind / "version_0" / "checkpoints" / "epoch=0.ckpt"
    assert printed.err == ""
    assert printed.out == (
        "8 versions of 1 run in logs, 1 to deliver, 1 staged for wandb sync\n"
        "\n"
        "logs/version_0/artifacts\n"
        "  model-1a2b\n"
        "    epoch 0   step 0   val/loss 1   2.9 MiB   epoch-0\n"
        f"      kept at\n        {kept}\n"
        "    epoch 1   step 1000   val/loss 0.5   2.9 MiB   epoch-1\n"
        "      wandb: delivered, someone/digits/model-1a2b:v0\n"
        "    epoch 2   step 2000   val/loss 0.3333   2.9 MiB   epoch-2\n"
        "      wandb: dropped, someone/digits/model-1a2b:v2 is deleted\n"
        "    epoch 3   step 3000   val/loss 0.25   2.9 MiB   epoch-3\n"
        "      wandb: file removed, someone/digits/model-1a2b:v3 is kept: it is\n"
        "        'production'\n"
        "    epoch 4   step 4000   val/loss 0.2   2.9 MiB   best, epoch-4\n"
        f"      wandb: staged for wandb sync {OFFLINE}\n"
        "    epoch 5   step 5000   val/loss 0.1667   2.9 MiB   epoch-5\n"
        "      wandb: delivered, someone/digits/model-1a2b:v5\n"
        "      mlflow: waits to be delivered\n"
        "    epoch 6   step 6000   val/loss 0.1429   2.9 MiB   epoch-6\n"
        "      wandb: failed: W&B does not take it: metadata is larger than what it takes\n"
        "        for a version\n"
        "    epoch 7   step 7000   val/loss 0.125   2.9 MiB   latest, epoch-7\n"
        "      failed: its content is gone\n"
        "\n"
        "Deliver them with: lwcallbacks artifacts logs --deliver\n"
        f"Send what is staged with: wandb sync {OFFLINE}\n"
    )
    assert max(map(len, printed.out.replace(str(kept), "").splitlines())) <= 80


def test_what_is_staged_is_listed_with_what_sends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the offline run is by now; once `wandb sync` has been over it, --deliver asks what has arrived."""
    save(tmp_path / "logs" / "version_0", 1)
    offline = tmp_path / "logs" / OFFLINE
    offline.mkdir(parents=True)
    note(tmp_path / "logs" / "version_0", 1, "delivered", "wandb", Receipt("staged", OFFLINE))
    assert main(["artifacts", "logs"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 version of 1 run in logs, none to deliver, 1 staged for wandb sync\n")
    assert printed.endswith(f"\nSend what is staged with: wandb sync {offline}\n")
    (offline / "run-1.wandb.synced").touch()
    assert main(["artifacts", "logs"]) == 0
    told = "See whether W&B has what was sent: lwcallbacks artifacts logs --deliver\n"
    assert capsys.readouterr().out.endswith(told)


def test_the_page_shows_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/command-line.md, to the letter."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    [(command, shown)] = re.findall(
        r"^```text\n\$ lwcallbacks (artifacts [^\n]*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL
    )
    for number in (1, 2):
        save(tmp_path / "lightning_logs" / "version_0", number)
    note(tmp_path / "lightning_logs" / "version_0", 1, "delivered", "wandb", DELIVERED)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_json_has_all_that_is_known(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a program to read."""
    assert main(["artifacts", "logs", "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)
    assert run["ledger"] == "logs/version_0/artifacts"
    assert [version["waiting"] for version in run["versions"]] == [[], [], [], [], ["wandb"], ["mlflow"], [], []]
    staged = run["versions"][4]
    assert staged["stores"] == {"wandb": {"state": "staged", "address": OFFLINE, "why": ""}}
    assert (staged["aliases"], staged["metadata"]["score"], staged["size"]) == (["best", "epoch-4"], 0.2, 3_000_000)
    assert Path(staged["content"]).read_bytes() == bytes([4]) * 3_000_000
    assert [version["why"] for version in run["versions"]][-1] == "its content is gone"


def test_facts_that_are_missing_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A save that nobody monitors, a number that is not finite, a version without a digest yet."""
    save(tmp_path, 1, monitor=None, score=None, step=None)
    save(tmp_path, 2, score="inf")
    with Ledger(tmp_path / "artifacts") as ledger:
        ledger.saved(Version("x", "other", "s3://bucket/x.ckpt"), ["wandb"])
    assert main(["artifacts"]) == 0
    printed = capsys.readouterr().out
    assert "    epoch 1   2.9 MiB   epoch-1\n" in printed
    assert "    epoch 2   step 2000   val/loss inf   2.9 MiB   latest, best, epoch-2\n" in printed
    assert "  other\n      wandb: waits to be delivered\n" in printed


def test_a_terminal_obeys_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names may come from somebody else."""
    save(tmp_path, 1, name="model\x1b[2J", monitor="a\nb")
    assert main(["artifacts"]) == 0
    printed = capsys.readouterr().out
    assert "  model?[2J\n" in printed
    assert "a?b 0.5" in printed
    assert "\x1b" not in printed


@pytest.mark.parametrize("wrong", ["missing", "file", "empty"])
def test_a_wrong_folder_is_an_error_that_helps(wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was expected, and 2."""
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert main(["artifacts", wrong]) == 2
    told = "has no ledger of checkpoints in it" if wrong == "empty" else "is no folder"
    assert capsys.readouterr().err.startswith(f"lwcallbacks artifacts: {wrong} {told}")


def test_a_ledger_that_cannot_be_read_is_reported(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are listed, and 1. So is one that names files outside of its folder."""
    save(every_kind / "version_1", 1)
    for content in ("nonsense\n", json.dumps({"event": "held", "id": "a", "content": "x"}) + "\n"):
        (every_kind / "version_0" / "artifacts" / FILE).write_text(content)
        assert main(["artifacts", "logs"]) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("lwcallbacks artifacts: logs/version_0/artifacts cannot be read: ")
        assert "logs/version_1/artifacts\n" in printed.out
    ledger = every_kind / "version_1" / "artifacts" / FILE
    ledger.write_text(ledger.read_text().replace("held/model-1a2b-1/epoch=1.ckpt", "held/../../../secret"))
    assert main(["artifacts", "logs/version_1"]) == 1
    assert "expected one in this folder" in capsys.readouterr().err


def test_it_starts_without_torch(every_kind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without the loggers' clients."""
    for module in ("torch", "wandb", "numpy", "lightning", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["artifacts", "logs"]) == 0


# Delivering


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    wandb.teardown()
    with WandbServer() as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        yield made
        wandb.teardown()


def staged(directory: Path, *numbers: int) -> None:
    """Versions that an offline run has staged."""
    with wandb.init(project="digits", id="1a2b", mode="offline") as run:
        store = WandbStore(run)
        for number in numbers:
            version = save(directory, number)
            with Ledger(directory / "artifacts") as ledger:
                ledger.delivered(version.id, "wandb", store.deliver(version, ledger.content_of(version.id)))


def test_what_is_staged_is_sent_by_wandb_sync(
    tmp_path: Path, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then the ledger has the addresses at W&B, and the content is no longer held; a second time there is no work."""
    staged(tmp_path / "run", 1, 2)
    assert main(["artifacts", "run", "--deliver"]) == 0
    printed = capsys.readouterr().out
    assert "run/artifacts: 2 versions to deliver\n" in printed
    assert "2 versions of 1 run in run, none to deliver\n" in printed
    assert "wandb: delivered, someone/digits/model-1a2b:v1\n" in printed
    assert server.content(server.version("model-1a2b:best")) == {"epoch=2.ckpt": bytes([2]) * 3_000_000}
    assert list((tmp_path / "run" / "artifacts" / "held").iterdir()) == []
    calls = len(server.calls)
    assert main(["artifacts", "run", "--deliver"]) == 0
    assert len(server.calls) == calls


def test_what_was_synced_by_hand_is_found(tmp_path: Path, server: WandbServer) -> None:
    """`wandb sync` knows nothing of the ledger; which run it was has to be said, as no folder of it is here."""
    staged(tmp_path / "run", 1)
    [offline] = (tmp_path / "wandb").glob("offline-run-*")
    os.system(f"{sys.executable} -m wandb sync {offline} >/dev/null 2>&1")
    assert main(["artifacts", "run", "--deliver", "--run", "someone/digits/1a2b"]) == 0
    assert len(server.versions) == 1


def test_what_an_online_run_left_is_delivered_by_it(
    tmp_path: Path, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run is resumed, so the versions are its own."""
    with wandb.init(project="digits", id="1a2b"):
        pass
    save(tmp_path / "run", 1)
    save(tmp_path / "run", 2)
    assert main(["artifacts", "run", "--deliver"]) == 1
    assert "which run of W&B that was is not known: write --run entity/project/run_id\n" in capsys.readouterr().out
    assert main(["artifacts", "run", "--deliver", "--run", "someone/digits/1a2b"]) == 0
    assert [(v.name, v.run) for v in server.versions] == [("model-1a2b:v0", "1a2b"), ("model-1a2b:v1", "1a2b")]
    assert "best" in server.version("model-1a2b:v1").aliases


def test_a_run_that_is_still_going_on_is_left_alone(
    tmp_path: Path, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It delivers by itself. Listed it is."""
    save(tmp_path / "run", 1)
    with Ledger(tmp_path / "run" / "artifacts"):
        assert main(["artifacts", "run", "--deliver"]) == 1
        printed = capsys.readouterr().out
    assert "  the run is still going on: left alone\n" in printed
    assert "wandb: waits to be delivered\n" in printed
    assert server.calls == []


def test_while_the_server_is_away_everything_is_kept(
    tmp_path: Path, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said, and 1; delivered once the server is back."""
    staged(tmp_path / "run", 1)
    server.down()
    assert main(["artifacts", "run", "--deliver"]) == 1
    printed = capsys.readouterr().out
    assert "  W&B is not there: " in printed
    assert "1 version of 1 run in run, none to deliver, 1 staged for wandb sync\n" in printed
    assert len(list((tmp_path / "run" / "artifacts" / "held").iterdir())) == 1
    server.up()
    assert main(["artifacts", "run", "--deliver"]) == 0


def test_what_only_the_run_can_deliver_is_said(
    tmp_path: Path, server: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an offline run that is gone, or is none."""
    save(tmp_path / "run", 1, stores=("mlflow",))
    for number, address in ((2, OFFLINE), (3, "run")):
        save(tmp_path / "run", number)
        note(tmp_path / "run", number, "delivered", "wandb", Receipt("staged", address))
    assert main(["artifacts", "run", "--deliver"]) == 1
    printed = capsys.readouterr().out
    assert "  to mlflow only the run itself delivers: start it again with the same logger\n" in printed
    for address in (OFFLINE, "run"):
        assert f"  {address} is not there, expected the folder of an offline run of W&B\n" in printed


def test_a_run_is_named_for_one_ledger(every_kind: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And only to deliver."""
    save(every_kind / "version_1", 1)
    for more in (["--deliver"], []):
        assert main(["artifacts", "logs", "--run", "a/b/c", *more]) == 2
        assert "found --run a/b/c and 2 ledgers, expected entity/project/run_id" in capsys.readouterr().err


def test_a_save_whose_run_has_ended_before_it_was_written_is_not_called_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run may have written to the same path since. The next run beside it says for good that it never was."""
    with Ledger(tmp_path / "version_0" / "artifacts") as ledger:
        ledger.saved(Version("1", "model-0", str(tmp_path / "epoch=0.ckpt"), ("latest",), {"epoch": 0}), [])
    assert main(["artifacts", str(tmp_path)]) == 0
    assert "      not written yet, as far as is known\n" in capsys.readouterr().out
    tidy(tmp_path, tmp_path / "version_1" / "artifacts")
    assert main(["artifacts", str(tmp_path)]) == 0
    assert "      failed: the process ended before its content was held\n" in capsys.readouterr().out
