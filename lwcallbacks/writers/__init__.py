"""Where media go: one writer per logger that can keep them, and a plain folder.

    writers = writers_for(trainer.loggers, media_dir=Path("media"))
    publisher = Publisher(writers, trainer.loggers)

A logger that has no writer gets no media, and the folder gets everything. `register_writer` adds one.
"""

from lwcallbacks.writers.base import Writer as Writer
from lwcallbacks.writers.compact import jsonable as jsonable
from lwcallbacks.writers.folder import FolderWriter as FolderWriter
from lwcallbacks.writers.publisher import Publisher as Publisher
from lwcallbacks.writers.registry import register_writer as register_writer
from lwcallbacks.writers.registry import writers_for as writers_for
