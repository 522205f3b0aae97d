"""TensorBoard's messages and records, as tensorboardX writes them.

Where PyTorch is installed tensorboardX imports it, for annotations alone: three seconds and 180 MB of every process. So
it finds none, unless PyTorch is there already.
"""

import sys
from typing import Any

modules: dict[str, Any] = sys.modules
unseen = modules.setdefault("torch", None) is None
try:
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2, summary_pb2
    from tensorboardX.proto.event_pb2 import (
        Event,  # pyright: ignore[reportAttributeAccessIssue]: generated at import
        SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
    )
    from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboardX.record_writer import RecordWriter
    from tensorboardX.summary import custom_scalars, histogram_raw, scalar, text
finally:
    if unseen:
        del modules["torch"]

__all__ = [
    "Event",
    "RecordWriter",
    "SessionLog",
    "Summary",
    "api_pb2",
    "custom_scalars",
    "histogram_raw",
    "plugin_hparams_pb2",
    "scalar",
    "summary_pb2",
    "text",
]
