"""Review: a local web page on which people judge the candidates of a finished run."""

from emeraldcut.review.agreement import agreement, cohen_kappa, fleiss_kappa
from emeraldcut.review.review import review
from emeraldcut.review.reviewed_run import ReviewSettings

__all__ = ["ReviewSettings", "agreement", "cohen_kappa", "fleiss_kappa", "review"]
