from typing import Any

from absl.flags import FlagHolder, FlagValues
from ml_collections import ConfigDict

def DEFINE_config_dict(
    name: str,
    config: ConfigDict,
    help_string: str = ...,
    flag_values: FlagValues = ...,
    lock_config: bool = ...,
    sys_argv: list[str] | None = ...,
    **kwargs: Any,
) -> FlagHolder[ConfigDict]: ...
