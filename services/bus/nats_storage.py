"""What JetStream keeps: for how long, and how much of it at most."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, ObjectStoreConfig, StreamConfig

from services.contracts import subjects

_DAY_S = 24 * 3600
_MIB = 1024**2
_STREAMS = (
    StreamConfig(
        name=subjects.DECISION_STREAM,
        subjects=[subjects.DECISIONS],
        max_age=7 * _DAY_S,
        max_msgs=200_000,
        allow_direct=True,
    ),
    StreamConfig(
        name=subjects.FEEDBACK_STREAM,
        subjects=[subjects.FEEDBACK],
        max_age=30 * _DAY_S,
        max_msgs=20_000,
        max_msgs_per_subject=1,
    ),
    StreamConfig(name=subjects.SHADOW_STREAM, subjects=[subjects.SHADOWS], max_age=7 * _DAY_S, max_bytes=256 * _MIB),
    StreamConfig(
        name=subjects.EVENT_STREAM,
        subjects=[subjects.EVENTS],
        max_age=30 * _DAY_S,
        max_msgs=5_000,
        max_msgs_per_subject=1,
    ),
)
_BUCKETS = {subjects.CATALOG_BUCKET: 64, subjects.STANDBY_BUCKET: 1, subjects.SCALE_BUCKET: 1}
"""With how many values of each key are kept."""
_BLOB_TTL_S = 600
_BLOBS_MAX_BYTES = 2048 * _MIB


async def ensure(js: JetStreamContext, replicas: int) -> None:
    """Create the streams and buckets that are missing; idempotent. Raises nats-py's errors."""
    for stream in _STREAMS:
        await js.add_stream(stream.evolve(discard=DiscardPolicy.OLD, num_replicas=replicas))
    for bucket, history in _BUCKETS.items():
        await js.create_key_value(KeyValueConfig(bucket=bucket, history=history, replicas=replicas))
    await js.create_object_store(
        subjects.BLOB_BUCKET, ObjectStoreConfig(ttl=_BLOB_TTL_S, max_bytes=_BLOBS_MAX_BYTES, replicas=replicas)
    )
