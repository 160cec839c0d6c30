"""Stages that write runs, for Python users: settings are keywords, and `progress=True` shows a bar."""

from __future__ import annotations

from emeraldcut.api.keywords import freely
from emeraldcut.mergers import simulate as _simulate
from emeraldcut.networks import train as _train
from emeraldcut.screening import completeness as _completeness
from emeraldcut.search import search as _search
from emeraldcut.studies import study as _study

completeness = freely(_completeness)
search = freely(_search)
simulate = freely(_simulate)
study = freely(_study)
train = freely(_train)
