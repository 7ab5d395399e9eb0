"""Pages that are handed on: a run as one file, runs beside each other, a run in a notebook. No torch, no numpy.

    single_file(Path("lightning_logs/version_0")).html      # everything inside
    comparison([Path("a"), Path("b")])                      # HTML
    Page(Path("lightning_logs/version_0/media"))            # shows itself in a notebook

A folder may come from anybody. What is in it is read as data, checked, and written again: never is a script of it, or a
file that is not in it, part of what is made here.
"""

from lwcallbacks.sharing.compare import Compared as Compared
from lwcallbacks.sharing.compare import compared as compared
from lwcallbacks.sharing.compare import comparison as comparison
from lwcallbacks.sharing.notebook import Page as Page
from lwcallbacks.sharing.own import is_as_written as is_as_written
from lwcallbacks.sharing.single import SingleFile as SingleFile
from lwcallbacks.sharing.single import single_file as single_file
