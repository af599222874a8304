"""Config files are texts of somebody: one block is ours, and all the rest stays as it is.

Each format reads the block, writes texts into it, and says what is outside of it.
"""

from __future__ import annotations

from datasnap.ml.pins.configs.blocks import Block, ConfigFile, is_config

__all__ = ["Block", "ConfigFile", "is_config"]
