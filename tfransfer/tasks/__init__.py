"""Tasks: everything specific to single-label, multi-label and regression models, one class each."""

from tfransfer.tasks.multi_label import MultiLabel
from tfransfer.tasks.regression import Regression
from tfransfer.tasks.single_label import CLASSIFICATION
from tfransfer.tasks.task import register

for task in (CLASSIFICATION, MultiLabel(), Regression()):
    register(task)
