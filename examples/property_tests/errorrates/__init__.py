"""Error rates for classifiers: what a small library of metrics looks like."""

from errorrates.rates import ClassErrorRates as ClassErrorRates
from errorrates.rates import ErrorRate as ErrorRate
from errorrates.rates import WorstBatch as WorstBatch
