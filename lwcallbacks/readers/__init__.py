"""What runs and folders hold, read back from the disk: no account, no network, no torch.

read_run("wandb/offline-run-20260101_120000-abc").history[-1]["val/accuracy"]
read_folder("lightning_logs/version_0").steps()["val/confusion_matrix"]
"""

from lwcallbacks.readers.damage import damage as damage
from lwcallbacks.readers.folder import Item as Item
from lwcallbacks.readers.folder import Logged as Logged
from lwcallbacks.readers.folder import MediaFolder as MediaFolder
from lwcallbacks.readers.folder import calls as calls
from lwcallbacks.readers.folder import find_folders as find_folders
from lwcallbacks.readers.folder import of_page as of_page
from lwcallbacks.readers.folder import read_folder as read_folder
from lwcallbacks.readers.wandb_file import OfflineArtifact as OfflineArtifact
from lwcallbacks.readers.wandb_file import OfflineRun as OfflineRun
from lwcallbacks.readers.wandb_file import read_run as read_run
