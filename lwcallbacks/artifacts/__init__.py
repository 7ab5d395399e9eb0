"""The life of a checkpoint after it was saved: held, entered in a ledger, delivered, dropped, fetched. No Lightning.

version.py           what one save is: name, aliases, facts, where its content is held
holding.py           keeps the content as it was saved, by hard links where that is safe
ledger.py            what has become of each version, in a file that survives the process
store.py             where versions are delivered to: what a logger implements
delivery.py          delivers in the order of the saves, behind the training
earlier.py           what a process that was killed has left
lineage.py           what a checkpoint says of the versions before it
ledgers.py           all ledgers below a folder, for the command line
checkpoint_path.py   the way back: a version as a path of this machine
wandb_fetch.py       what W&B says of a version, and its files
download.py          one file, and no more than was announced
cache.py             what was downloaded, within a bound
trust.py             whether a checkpoint can be loaded without running code
"""

from lwcallbacks.artifacts.store import Gone as Gone
from lwcallbacks.artifacts.store import Receipt as Receipt
from lwcallbacks.artifacts.store import Store as Store
from lwcallbacks.artifacts.version import Version as Version
