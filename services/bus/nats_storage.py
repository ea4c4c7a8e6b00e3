"""What JetStream keeps: for how long, and how much of it at most."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, KeyValueConfig, ObjectStoreConfig, StreamConfig

from services.contracts import subjects

BLOB_TTL_S = 600
BLOBS_MAX_BYTES = 2 * 1024**3
DECISIONS_MAX_AGE_S = 7 * 24 * 3600
DECISIONS_MAX_COUNT = 200_000
FEEDBACK_MAX_AGE_S = 30 * 24 * 3600
FEEDBACK_MAX_COUNT = 20_000
SHADOWS_MAX_AGE_S = 7 * 24 * 3600
SHADOWS_MAX_BYTES = 256 * 1024**2
CATALOG_HISTORY = 64


async def ensure(js: JetStreamContext, replicas: int) -> None:
    """Create the streams and buckets that are missing; idempotent. Raises nats-py's errors."""
    await js.add_stream(
        StreamConfig(
            name=subjects.DECISION_STREAM,
            subjects=[subjects.DECISIONS],
            max_age=DECISIONS_MAX_AGE_S,
            max_msgs=DECISIONS_MAX_COUNT,
            discard=DiscardPolicy.OLD,
            allow_direct=True,
            num_replicas=replicas,
        )
    )
    await js.add_stream(
        StreamConfig(
            name=subjects.FEEDBACK_STREAM,
            subjects=[subjects.FEEDBACK],
            max_age=FEEDBACK_MAX_AGE_S,
            max_msgs=FEEDBACK_MAX_COUNT,
            max_msgs_per_subject=1,
            discard=DiscardPolicy.OLD,
            num_replicas=replicas,
        )
    )
    await js.add_stream(
        StreamConfig(
            name=subjects.SHADOW_STREAM,
            subjects=[subjects.SHADOWS],
            max_age=SHADOWS_MAX_AGE_S,
            max_bytes=SHADOWS_MAX_BYTES,
            discard=DiscardPolicy.OLD,
            num_replicas=replicas,
        )
    )
    await js.create_key_value(
        KeyValueConfig(bucket=subjects.CATALOG_BUCKET, history=CATALOG_HISTORY, replicas=replicas)
    )
    await js.create_key_value(KeyValueConfig(bucket=subjects.STANDBY_BUCKET, replicas=replicas))
    await js.create_object_store(
        subjects.BLOB_BUCKET,
        ObjectStoreConfig(ttl=BLOB_TTL_S, max_bytes=BLOBS_MAX_BYTES, replicas=replicas),
    )
