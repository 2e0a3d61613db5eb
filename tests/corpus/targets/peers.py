"""Every target by its name."""

from .scoregate import Scoregate

TARGETS = {"scoregate": Scoregate}
