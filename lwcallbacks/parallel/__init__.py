"""DataParallel for Lightning 2: several devices, or several replicas on the CPU, in one process."""

from lwcallbacks.parallel.strategy import DataParallelStrategy as DataParallelStrategy
